"""The pages of the control plane's own resources: where they lead, and what their forms
begin with."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.accounts.models import ApiToken
from controlplane.fleet.examples import NEW_AGENT
from controlplane.inference.browsing import agent_page
from controlplane.operations.serializers import ACTIONS, NewOperationSerializer
from controlplane.reconcile.models import Watch
from controlplane.resources import ROUTES
from tests.controlplane.inference.pages import HTML, opened

pytestmark = pytest.mark.django_db


def test_start__empty_fleet__says_how_agents_come(admin_api):
    page = opened(admin_api, "/api/v1/")

    assert "No agent is known yet." in page.text
    assert "KVPLANE_ENROLMENT_TOKEN" in page.text
    assert {"/api/v1/enrolment-tokens#post", "/api/v1/agents#post"} <= set(page.links)
    assert "need the role" not in page.text


def test_start__empty_fleet_and_no_admin__says_who_can_change_that(viewer_api):
    assert "both need the role admin" in opened(viewer_api, "/api/v1/").text


def test_start__fleet__offers_its_agents_and_every_call(viewer_api, make_agent):
    make_agent("worker-0")

    page = opened(viewer_api, "/api/v1/")

    assert agent_page("worker-0") in page.links
    assert "/freeze/enable#enable_freeze" in page.links
    assert "No agent is known yet." not in page.text


def test_start__every_resource__has_a_link_and_a_line_about_it(admin_api):
    from controlplane.home import resource_groups

    links = {link.title: link for group in resource_groups() for link in group.links}

    assert set(links) == {*ROUTES, "docs", "redoc", "schema", "admin"}
    assert all(link.about for link in links.values())
    assert {link.url for link in links.values()} <= set(opened(admin_api, "/api/v1/").links)


def test_agent__json__links_to_what_is_kept_of_it_and_of_nobody_else(admin_api, fleet):
    for name in ("worker-0", "worker-1"):
        agent, _ = fleet(name)
        Watch.objects.create(agent=agent)
        admin_api.post(f"/agents/{name}/conf", {"min_retrieve_tokens": 7}, format="json")
        admin_api.put(f"/agents/{name}/freeze/enable")

    links = admin_api.get("/api/v1/agents/worker-0/").json()["links"]

    assert set(links) == {
        *("revisions", "modes", "mode_changes", "operations"),
        *("chunk_statistics", "tier_statistics", "watch", "audit", "status"),
    }
    assert all(url.startswith("http://testserver/") for url in links.values())
    for name in ("revisions", "modes", "mode_changes", "audit"):
        rows = admin_api.get(links[name]).json()["results"]
        assert {row["agent"] for row in rows} == {"worker-0"}, name
    for operation in admin_api.get(links["operations"]).json()["results"]:
        (target,) = admin_api.get(operation["targets_url"]).json()["results"]
        assert target["agent"] == "worker-0"
    assert admin_api.get(links["watch"]).json()["agent"] == "worker-0"
    assert admin_api.get(links["status"]).json()["role"] == "worker"


def test_agent__registered_and_changed__says_the_links_too(admin_api):
    spec = {"engine": "e", "role": "worker", "worker_id": 0, "url": "http://127.0.0.1:7000"}

    made = admin_api.post("/api/v1/agents/", {**spec, "name": "w"}, format="json").json()
    changed = admin_api.patch("/api/v1/agents/w/", {"labels": {"a": "b"}}, format="json").json()

    assert made["links"] == changed["links"] == admin_api.get("/api/v1/agents/w/").json()["links"]


def test_agent__page__forms_begin_with_what_it_is(admin_api, make_agent):
    make_agent("worker-0", url="http://127.0.0.1:7003")

    page = opened(admin_api, "/api/v1/agents/worker-0/")

    for method in ("PUT", "PATCH"):
        controls = page.call(method).controls
        assert controls["url"]["value"] == "http://127.0.0.1:7003"
        assert controls["engine"]["value"] == "engine-a"
        assert controls["token"]["value"] == ""
    assert page.call("DELETE").attributes["data-path"] == "/api/v1/agents/worker-0/"


@pytest.mark.parametrize(
    ("path", "actions"),
    [
        ("/api/v1/agents/", ["probe"]),
        ("/api/v1/operations/", ["cancel", "retry"]),
        ("/api/v1/config-revisions/", ["diff", "rollback", "rollback-preview"]),
        ("/api/v1/watches/", ["retry"]),
    ],
)
def test_page__of_an_object__leads_to_its_actions_and_they_have_forms(
    admin_api, fleet, path, actions
):
    agent, _ = fleet()
    Watch.objects.create(agent=agent)
    admin_api.post("/agents/worker-0/conf", {"min_retrieve_tokens": 7}, format="json")
    row = admin_api.get(path).json()["results"][0]
    own = f"{path}{row.get('id') or row.get('name') or row['agent']}/"

    page = opened(admin_api, own)
    found = {
        link.rstrip("/").rpartition("/")[2]: link for link in page.links if own.rstrip("/") in link
    }

    assert set(actions) <= set(found)
    for action in actions:
        of_action = opened(admin_api, found[action])
        assert [form for form in of_action.forms if form.method] or "answered 200" in of_action.text


def test_lists__of_statistics_and_audit__lead_to_what_else_can_be_done(admin_api):
    statistics = opened(admin_api, "/api/v1/chunk-statistics/?agent=w").links
    tiers = opened(admin_api, "/api/v1/tier-statistics/?agent=w").links
    audit = opened(admin_api, "/api/v1/audit/?agent=w").links

    assert "/api/v1/chunk-statistics/series" in statistics
    assert "/api/v1/chunk-statistics/sample" in statistics
    assert "/api/v1/chunk-statistics/export?agent=w" in statistics
    assert "/api/v1/tier-statistics/series" in tiers
    assert "/api/v1/tier-statistics/export?agent=w" in tiers
    assert "/api/v1/audit/verification" in audit
    assert "/api/v1/audit/export?agent=w&format=csv" in audit


def test_operation__page__leads_to_its_agents_entries_and_what_it_made(operator_api, fleet):
    fleet()
    own = operator_api.put("/agents/worker-0/freeze/enable")["X-KVPlane-Operation"]

    links = opened(operator_api, f"/api/v1/operations/{own}/").links

    assert agent_page("worker-0") in links
    for route in ("audit", "config-revisions", "mode-changes"):
        assert f"/api/v1/{route}?operation={own}" in links


def test_targets__of_an_operation__are_a_page_that_leads_to_their_agents_and_back(
    operator_api, fleet
):
    fleet()
    own = operator_api.put("/agents/worker-0/freeze/enable")["X-KVPlane-Operation"]
    targets = f"/api/v1/operations/{own}/targets"
    operation = opened(operator_api, f"/api/v1/operations/{own}/").links

    page = opened(operator_api, targets)

    assert targets in operation
    assert "worker-0" in page.text
    assert {agent_page("worker-0"), f"/api/v1/operations/{own}/"} <= set(page.links)


def test_form__of_a_resource__begins_with_the_example_of_the_document(admin_api):
    text = admin_api.get("/api/v1/agents/", headers=HTML).content.decode()

    _, _, shown = text.partition('<script id="post-examples" type="application/json">')
    assert json.loads(shown.partition("</script>")[0]) == [NEW_AGENT]


def test_operation__form__begins_with_an_example_of_each_action_that_can_be_sent(
    operator_api, fleet
):
    from controlplane.operations.form_examples import operation_examples

    fleet(engine="engine-a")
    text = operator_api.get("/api/v1/operations/", headers=HTML).content.decode()

    examples = list(operation_examples())
    assert [example.values["action"] for example in examples] == sorted(ACTIONS)
    for example in examples:
        assert example.title.replace("&", "&amp;") in text
        assert example.values["selector"] == {"engines": ["engine-a"]}
        serializer = NewOperationSerializer(data=example.values)
        assert serializer.is_valid(), serializer.errors
    assert 'data-add="worker-0"' in text
    assert 'data-add="engine-a"' in text


def test_form__viewer__is_told_which_role_it_takes(viewer_api, make_agent):
    make_agent()

    page = opened(viewer_api, "/api/v1/agents/worker-0/")

    assert "This needs the role 'admin'; yours is 'viewer'." in page.text
    assert viewer_api.delete("/api/v1/agents/worker-0/").json()["message"] == (
        "This needs the role 'admin'; yours is 'viewer'."
    )


def test_page__role_does_not_suffice__says_which_one_does(viewer_api):
    page = opened(viewer_api, "/api/v1/users/", status=403)

    assert "This needs the role 'admin'; yours is 'viewer'." in page.text
    assert "/api/auth/login/?next=%2Fapi%2Fv1%2Fusers%2F" in page.links


def test_list__bad_filter__is_a_page_with_the_filters_and_what_is_wrong(viewer_api):
    page = opened(viewer_api, "/api/v1/audit/?since=yesterday&agent=w", status=400)

    (filters,) = (form for form in page.forms if form.attributes.get("class") == "kvp-filters")
    assert "'since': Enter a valid date/time." in page.text
    assert filters.controls["since"]["value"] == "yesterday"
    assert filters.controls["agent"]["value"] == "w"


def test_list__narrowed_and_longer_than_a_page__says_so_and_leads_on(admin_api, make_user):
    for number in range(3):
        ApiToken.objects.create(
            name=f"t{number}", user=make_user("viewer", f"u{number}"), role="viewer", digest=number
        )

    page = opened(admin_api, "/api/v1/tokens/?role=viewer&page_size=2")
    (following,) = {link for link in page.links if "cursor=" in link}

    assert "role=viewer" in page.text
    assert "t2" in page.text
    assert "t0" in opened(admin_api, following).text


@pytest.mark.parametrize("path", ["/api/v1/agents/", "/api/v1/operations/", "/api/v1/audit/"])
def test_list__page__needs_as_many_queries_for_many_rows_as_for_few(operator_api, fleet, path):
    def queries() -> int:
        ApiToken.objects.update(last_used_at=timezone.now())
        with CaptureQueriesContext(connection) as captured:
            opened(operator_api, path)
        return len(captured)

    for name in ("worker-0", "worker-1"):
        fleet(name)
        operator_api.put(f"/agents/{name}/freeze/enable")
    few = queries()
    for name in ("worker-2", "worker-3", "worker-4"):
        fleet(name)
        operator_api.put(f"/agents/{name}/freeze/enable")

    assert queries() == few


def test_page__change__needs_a_script_and_says_so(admin_api):
    answer = admin_api.get("/api/v1/users/", headers=HTML).content.decode()

    assert "<noscript>" in answer
    assert 'type="submit" data-needs-js disabled' in answer


def test_enrolment__page__asks_for_the_token_that_opens_it(admin_api):
    controls = opened(admin_api, "/api/v1/enrol").call("POST").controls

    assert "required" in controls["Authorization"]
    assert controls["Authorization"]["data-place"] == "header"


def test_rest__names_in_urls__are_escaped(admin_api):
    page = opened(admin_api, "/api/v1/audit/?actor=%3Cscript%3Ealert(1)%3C/script%3E")

    assert "actor=<script>alert(1)</script>" in page.text
    assert all("alert" not in url for url in page.loaded)
