"""The pages of the documented calls: who is called, when, and with what."""

import pytest
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.inference import browsing
from controlplane.operations.models import Operation
from engine.contract import CATALOGUE, Role
from tests.controlplane.inference.pages import HTML, Page, opened

pytestmark = pytest.mark.django_db

CHANGES = sorted({entry.path for entry in CATALOGUE if entry.action} - {"/conf"})
MODES = ("freeze", "hot_cache", "bypass")


@pytest.mark.parametrize("path", CHANGES)
def test_page__of_a_change__is_a_form_and_calls_nobody(operator_api, make_agent, agents, path):
    make_agent()

    page = opened(operator_api, f"/agents/worker-0{path}")

    assert "Nothing was called yet." in page.text
    assert agents.requests == []
    assert operator_api.get(f"/agents/worker-0{path}").status_code == 405


def test_page__of_a_read_that_must_be_told_more__is_a_form_until_it_was_told(
    operator_api, make_agent, agents
):
    make_agent()
    path = "/agents/worker-0/cache/kvcache/check"

    first = opened(operator_api, path)
    refused = opened(operator_api, f"{path}?slot_mapping=0,1", status=400)
    called = opened(operator_api, f"{path}?slot_mapping=0,1&chunk_size=2")

    assert "'slot_mapping' is required" in first.text
    assert "'chunk_size' is required" in refused.text
    assert refused.call("GET").controls["slot_mapping"]["value"] == "0,1"
    assert "answered 200" in called.text
    assert operator_api.get(path).status_code == 400


def test_page__without_script__sends_the_default_of_a_choice_and_no_blank(
    operator_api, make_agent, agents
):
    make_agent()

    text = operator_api.get("/agents/worker-0/cache/kvcache/check", headers=HTML).content.decode()

    assert '<option value="false">false (default)</option>' in text


def test_page__no_agent_named_and_several__offers_those_with_the_component(
    operator_api, make_agent, agents
):
    make_agent("worker-0")
    make_agent("worker-1", worker_id=1)
    make_agent("scheduler", role=Role.SCHEDULER)

    answer = operator_api.get("/freeze/status", headers=HTML)
    text = answer.content.decode()

    assert answer.status_code == 200
    assert "Choose one of the agents" in text
    assert '<option value="worker-1" >' in text
    assert '<option value="scheduler"' not in text
    assert '<option value="engine-a" >' in text
    assert operator_api.get("/freeze/status").status_code == 409
    assert "answered 200" in opened(operator_api, "/freeze/status?agent=worker-1").text


def test_page__more_agents_than_a_choice_can_have__takes_a_name(
    operator_api, make_agent, agents, monkeypatch
):
    make_agent("worker-0")
    make_agent("worker-1", worker_id=1)
    monkeypatch.setattr(browsing, "MAX_CANDIDATES", 2)

    page = opened(operator_api, "/freeze/enable")

    assert page.call("PUT").controls["agent"]["tag"] == "input"
    assert page.call("PUT").controls["agent"]["list"] in page.ids


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=lambda endpoint: endpoint.operation_id)
def test_form__asks_for_reason_expiry_and_expected_revision_where_they_are_understood(
    operator_api, make_agent, agents, endpoint
):
    make_agent()
    page = Page(operator_api.get(f"/agents/worker-0{endpoint.path}", headers=HTML).content.decode())
    controls = page.call(endpoint.method).controls
    expires = endpoint.group in MODES and endpoint.action is not None

    assert ("X-KVPlane-Reason" in controls) == (endpoint.action is not None)
    assert ("X-KVPlane-Expires-In" in controls) == expires
    assert ("X-KVPlane-Expires-At" in controls) == expires
    assert ("expected_revision" in controls) == (endpoint.operation_id == "update_conf")
    # What they are called in the query, or as a header, is not asked for again.
    assert not controls.keys() & {"reason", "expires_in_s", "expires_at", "If-Match"}


def test_page__of_an_agent__leads_to_every_documented_call_and_each_page_has_that_call(
    operator_api, make_agent, agents
):
    make_agent()

    links = opened(operator_api, "/api/v1/agents/worker-0/").links

    for endpoint in CATALOGUE:
        link = f"/agents/worker-0{endpoint.path}#{endpoint.operation_id}"
        assert link in links
        page = operator_api.get(link.partition("#")[0], headers=HTML).content.decode()
        assert endpoint.operation_id in Page(page).ids


def test_page__of_a_call__leads_back_to_the_agent_and_to_what_is_kept(
    operator_api, make_agent, agents
):
    make_agent()

    links = opened(operator_api, "/agents/worker-0/freeze/enable").links

    assert "/api/v1/agents/worker-0/" in links
    assert "/api/v1/mode-changes?agent=worker-0" in links
    assert "/api/v1/audit?agent=worker-0" in links
    assert "/agents/worker-0/freeze/status#get_freeze_status" in links


@pytest.mark.parametrize("name", ["refused", "late"])
def test_page__agent_cannot_be_reached__says_what_to_do(operator_api, make_agent, agents, name):
    make_agent()
    status, error = {
        "refused": (502, NotSent("Connection refused")),
        "late": (504, TimedOut()),
    }[name]

    def fail(request):
        raise error

    agents.respond = fail

    page = opened(operator_api, "/agents/worker-0/conf", status=status)

    assert "What to do:" in page.text
    assert "worker-0" in page.text
    assert "/api/v1/agents/worker-0/probe/" in page.links


@pytest.mark.parametrize("name", ["nobody", "no body", "%3Cb%3E", "-", "x" * 200])
def test_page__of_an_agent_that_is_none__says_so(operator_api, name):
    page = opened(operator_api, f"/agents/{name}/freeze/status", status=404)

    assert "GET /api/v1/agents/ lists the names" in page.text


def test_page__anonymous__offers_to_log_in_and_comes_back(make_agent):
    make_agent()

    page = opened(Client(), "/agents/worker-0/conf?names=chunk_size", status=401)

    assert "/api/auth/login/?next=%2Fagents%2Fworker-0%2Fconf%3Fnames%3Dchunk_size" in page.links


def test_login__good_password__goes_back_to_the_page(make_user):
    make_user(UserRole.VIEWER, "ada")
    browser = Client()
    path = "/api/v1/audit/?actor=ada"

    page = Page(browser.get("/api/auth/login/", {"next": path}).content.decode())
    answer = browser.post(
        "/api/auth/login/",
        {"username": "ada", "password": "correct-horse-battery-staple", "next": path},
    )

    assert page.forms[-1].controls["next"]["value"] == path
    assert (answer.status_code, answer["Location"]) == (302, path)


@pytest.mark.parametrize("path", ["/nope", "/agents/worker-0/nope", "/api/v1/nope/"])
def test_path__that_is_none__is_a_page_for_a_browser_and_json_for_a_program(operator_api, path):
    page = opened(operator_api, path, status=404)

    assert "What to do:" in page.text
    assert "/api/v1/" in page.links
    assert operator_api.get(path).json()["error"] == "Not found"


def test_page__opened__leaves_no_operation(operator_api, make_agent, agents):
    make_agent()

    opened(operator_api, "/agents/worker-0/cache/clear")

    assert not Operation.objects.exists()
