"""Every documented endpoint as a form on an agent's page."""

import json
from uuid import uuid4

import pytest
from django.test import Client

from controlplane.accounts.models import User, UserRole
from controlplane.adminsite.call_forms import FORMS
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy
from controlplane.configuration.models import ConfigRevision
from controlplane.forwarding.transport import NotSent, RawAnswer
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation
from engine.contract import CATALOGUE

pytestmark = pytest.mark.django_db
ENDPOINTS = {entry.operation_id: entry for entry in CATALOGUE}
READS = sorted(name for name, entry in ENDPOINTS.items() if entry.action is None)
CHANGES = sorted(name for name, entry in ENDPOINTS.items() if entry.action is not None)
by_name = pytest.mark.parametrize("name", sorted(ENDPOINTS))


@pytest.fixture(autouse=True)
def _plain_text(agents) -> None:
    """The endpoints that answer plain text do so."""
    plain = {entry.path for entry in CATALOGUE if entry.media_type == "text/plain"}
    respond = agents.respond

    def answer(request):
        if request.target in plain:
            return RawAnswer(200, "text/plain", b"0.1.0-4f1c2d9")
        return respond(request)

    agents.respond = answer


def calls(agent) -> str:
    return f"/admin/fleet/agent/{agent.pk}/call/"


def examples(name: str) -> dict[str, str]:
    """The form filled with the catalogue's own examples."""
    endpoint = ENDPOINTS[name]
    filled = {parameter.name: parameter.example for parameter in endpoint.parameters}
    # With these a call that changes would only read.
    filled |= {reader: "false" for reader in filled if reader == endpoint.reads_with}
    if endpoint.body_example is not None:
        filled["body"] = json.dumps(endpoint.body_example)
    return filled


def send(client, agent, name, headers=None, **fields):
    path = f"{calls(agent)}{name}/"
    if ENDPOINTS[name].action is None:
        return client.get(path, {"sent": "1", **fields}, headers=headers)
    return client.post(path, {"key": uuid4().hex, **fields}, headers=headers)


def told(request_id: str) -> list[dict[str, object]]:
    """What a request left on record, but for numbers, moments and durations."""
    entries = AuditEntry.objects.filter(request_id=request_id).order_by("id")
    return [
        {
            **{field: getattr(entry, field) for field in ("stage", "action", "outcome", "status")},
            **{field: getattr(entry, field) for field in ("agent", "engine", "target", "reason")},
            **{field: getattr(entry, field) for field in ("actor_kind", "actor_name")},
            "operation": entry.operation_id is not None,
            **{part: entry.content[part] for part in ("request", "answer", "before", "after")},
        }
        for entry in entries
    ]


@by_name
def test_page__every_endpoint__has_a_form_with_its_parameters(page_as, make_agent, name):
    agent, endpoint = make_agent(), ENDPOINTS[name]
    text = page_as(UserRole.OPERATOR).get(calls(agent)).content.decode()

    form = text.split(f'data-call="{name}"')[1].split("</form>")[0]
    for parameter in endpoint.parameters:
        assert f'name="{parameter.name}"' in form
        assert parameter.description.split('"')[0] in form
        if parameter.minimum is not None:
            assert f'min="{parameter.minimum}"' in form
    assert ('name="body"' in form) == (endpoint.body_schema is not None)
    assert ('name="reason"' in form) == (endpoint.action is not None)
    assert f"{endpoint.method} {endpoint.path}" in form


def test_forms__fields_of_ours__are_not_called_as_a_parameter():
    ours = {"body", "reason", "ends", "ends_at", "expected_revision", "sent", "key"}

    for endpoint in CATALOGUE:
        assert ours.isdisjoint(parameter.name for parameter in endpoint.parameters)
    assert FORMS.keys() == ENDPOINTS.keys()


@by_name
def test_call__every_endpoint__reaches_the_agent_and_its_answer_is_shown(
    page_as, make_agent, agents, name
):
    agent, endpoint = make_agent(), ENDPOINTS[name]

    answer = send(page_as(UserRole.OPERATOR), agent, name, **examples(name), reason="deploy")

    assert answer.status_code == 200, answer.context and answer.context["call"].form.errors
    sent = [(request.method, request.target.split("?")[0]) for request in agents.requests]
    assert (endpoint.method, endpoint.path) in sent
    text = answer.content.decode()
    assert f"{agent} answered 200" in text
    if endpoint.media_type == "application/json":
        assert "&quot;status&quot;: &quot;success&quot;" in text
    else:
        assert "0.1.0-4f1c2d9" in text


@by_name
def test_call__through_the_api__leaves_the_same_on_record(
    page_as, make_agent, agents, settings, name
):
    settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.METADATA}
    agent, endpoint = make_agent(), ENDPOINTS[name]
    page, filled = page_as(UserRole.OPERATOR), examples(name)

    def call_api(request_id: str) -> None:
        page.generic(
            endpoint.method,
            f"/agents/{agent.name}{endpoint.path}",
            filled.get("body", ""),
            "application/json",
            query_params={one.name: filled[one.name] for one in endpoint.parameters},
            headers={"x-request-id": request_id, "x-kvplane-reason": "deploy"},
        )

    # What is desired is the same before each of the others.
    call_api("first")
    send(page, agent, name, headers={"x-request-id": "admin"}, **filled, reason="deploy")
    call_api("api")

    by_admin, by_api = told("admin"), told("api")
    assert by_admin
    if endpoint.action is None:
        # Another path, which is what a read is recorded with.
        for entry in (*by_admin, *by_api):
            entry.pop("request")
    assert by_admin == by_api


def _operator(page_as) -> User:
    page_as(UserRole.OPERATOR)
    return User.objects.get(username="operator")


@pytest.mark.parametrize("name", CHANGES)
def test_call__change_without_a_reason__is_not_made(page_as, make_agent, agents, name):
    agent = make_agent()

    answer = send(page_as(UserRole.OPERATOR), agent, name, **examples(name))

    assert answer.status_code == 400
    assert answer.context["call"].form.errors.keys() == {"reason"}
    assert agents.requests == []
    assert not Operation.objects.exists()


@pytest.mark.parametrize("name", CHANGES)
def test_call__viewer__may_not_change(page_as, make_agent, agents, name):
    agent = make_agent()

    answer = send(page_as(UserRole.VIEWER), agent, name, **examples(name), reason="r")

    assert answer.status_code == 403
    assert agents.requests == []
    assert AuditEntry.objects.get(action="access.denied").actor_name == "viewer"


@pytest.mark.parametrize("name", READS)
def test_call__viewer__may_read(page_as, make_agent, agents, name):
    agent = make_agent()

    assert send(page_as(UserRole.VIEWER), agent, name, **examples(name)).status_code == 200


def test_call__dry_run__is_a_read_for_which_nobody_is_asked_why(page_as, make_agent, agents):
    agent = make_agent()

    answer = send(page_as(UserRole.VIEWER), agent, "recreate_lookup", dryrun="true")

    assert answer.status_code == 200
    assert agents.requests[-1].target == "/lookup/recreate?dryrun=true"
    assert not Operation.objects.exists()


@pytest.mark.parametrize("name", CHANGES)
def test_call__change_by_a_link__is_not_made(page_as, make_agent, agents, name):
    agent = make_agent()
    client = page_as(UserRole.OPERATOR)

    answer = client.get(
        f"{calls(agent)}{name}/", {"sent": "1", **examples(name), "reason": "deploy"}
    )

    assert answer.status_code == 200
    assert agents.requests == []


def test_call__form_of_a_change__is_checked_for_its_csrf_token(page_as, make_agent, agents):
    agent = make_agent()
    client = Client(enforce_csrf_checks=True)
    client.force_login(_operator(page_as))

    answer = client.post(f"{calls(agent)}enable_freeze/", {"reason": "r"})

    assert answer.status_code == 403
    assert agents.requests == []


@pytest.mark.parametrize(
    ("name", "given", "field"),
    [
        ("check_kvcache", {"slot_mapping": "1,2", "chunk_size": "0"}, "chunk_size"),
        ("check_kvcache", {"slot_mapping": "1,2", "chunk_size": "x"}, "chunk_size"),
        ("check_kvcache", {"slot_mapping": "[9,3]", "chunk_size": "4"}, "slot_mapping"),
        ("check_kvcache", {"chunk_size": "4"}, "slot_mapping"),
        (
            "check_kvcache",
            {"slot_mapping": "1", "chunk_size": "4", "layerwise": "maybe"},
            "layerwise",
        ),
        ("store_cache", {"tokens_mock": "5,1", "reason": "r"}, "tokens_mock"),
        ("add_bypass", {"reason": "r"}, "backend_name"),
        ("add_bypass", {"reason": "r", "backend_name": "X", "ends": "9"}, "ends"),
        ("update_conf", {"reason": "r", "body": "{]"}, "body"),
        ("update_conf", {"reason": "r", "body": '{"a": 1, "a": 2}'}, "body"),
        ("update_conf", {"reason": "r", "body": '{"a": "\\u0000"}'}, "body"),
        (
            "update_conf",
            {"reason": "r", "body": "{}", "expected_revision": "-1"},
            "expected_revision",
        ),
        ("enable_freeze", {"reason": "x" * 501}, "reason"),
    ],
)
def test_call__bad_value__is_told_at_its_field_and_nothing_is_sent(
    page_as, make_agent, agents, name, given, field
):
    agent = make_agent()

    answer = send(page_as(UserRole.OPERATOR), agent, name, **given)

    assert answer.status_code == 400
    assert field in answer.context["call"].form.errors
    assert "The call was not made" in answer.content.decode()
    assert agents.requests == []


def test_call__several_values__one_a_line(page_as, make_agent, agents):
    agent = make_agent()
    lines = "LocalCPUBackend\r\n\r\n LocalDiskBackend "

    send(page_as(UserRole.OPERATOR), agent, "clear_cache", locations=lines, reason="r")

    assert agents.requests[-1].target == (
        "/cache/clear?locations=LocalCPUBackend&locations=LocalDiskBackend"
    )


def test_call__body__is_sent_as_it_was_typed(page_as, fleet, agents):
    agent, simulated = fleet()
    typed = '{"min_retrieve_tokens":   64}'

    answer = send(page_as(UserRole.OPERATOR), agent, "update_conf", body=typed, reason="r")

    posted = next(request for request in agents.requests if request.method == "POST")
    assert posted.body == typed.encode()
    assert simulated.conf["min_retrieve_tokens"] == 64
    operation = Operation.objects.get()
    assert f"/admin/operations/operation/{operation.pk}/change/" in answer.content.decode()
    assert ConfigRevision.objects.get(operation_id=operation.pk).reason == "r"


def test_call__expected_revision_is_another__is_refused_with_its_status(page_as, fleet):
    agent, simulated = fleet()
    sent = {"body": '{"min_retrieve_tokens": 64}', "reason": "r", "expected_revision": "7"}

    answer = send(page_as(UserRole.OPERATOR), agent, "update_conf", **sent)

    assert answer.status_code == 409
    assert "<h2>409 " in answer.content.decode()
    assert simulated.conf["min_retrieve_tokens"] == 0


def test_call__mode_with_an_end__ends(page_as, fleet):
    agent, _ = fleet()

    send(page_as(UserRole.OPERATOR), agent, "enable_freeze", ends="900", reason="r")

    assert DesiredMode.objects.get().expires_at is not None


@pytest.mark.parametrize("name", ["get_conf", "enable_freeze"])
def test_call__agent_does_not_answer__the_page_says_so_with_the_status(page_as, fleet, name):
    agent, simulated = fleet()

    def refuse(method, path):
        raise NotSent("Connection refused")

    simulated.before = refuse
    answer = send(page_as(UserRole.OPERATOR), agent, name, reason="r")

    assert answer.status_code == 502
    text = answer.content.decode()
    assert "502 Agent unreachable" in text
    assert "Cannot connect to agent" in text


def test_call__read_that_is_kept_in_full__the_agents_answer_is_on_record(page_as, fleet, settings):
    settings.KVPLANE_AUDIT_READS = {"conf": ReadPolicy.FULL}
    agent, _ = fleet()

    send(page_as(UserRole.VIEWER), agent, "get_conf", names="chunk_size")

    entry = AuditEntry.objects.get(action="request.read")
    assert (entry.agent, entry.actor_name, entry.outcome) == ("worker-0", "viewer", "succeeded")
    assert entry.answer["chunk_size"] == 256
    assert entry.request["query"] == {"sent": "1", "names": "chunk_size"}


@pytest.mark.parametrize("path", ["99999/call/", "99999/call/get_conf/", "1/call/no_such_call/"])
def test_call__what_is_not_there__is_404(page_as, make_agent, path):
    make_agent()

    assert page_as(UserRole.OPERATOR).get(f"/admin/fleet/agent/{path}").status_code == 404


def test_page__viewer__sees_forms_but_no_button_for_changes(page_as, make_agent):
    agent = make_agent()
    text = page_as(UserRole.VIEWER).get(calls(agent)).content.decode()

    for name in ("enable_freeze", "get_conf", "recreate_lookup"):
        form = text.split(f'data-call="{name}"')[1].split("</form>")[0]
        assert ("Your role does not allow this call." in form) == (name == "enable_freeze")
