"""Configuration revisions, through the API."""

import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.forwarding.transport import TimedOut
from controlplane.operations.models import Operation
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


def revisions(agent="worker-0") -> list[tuple]:
    rows = ConfigRevision.objects.filter(agent=agent).order_by("number")
    return [(row.number, row.state, row.source) for row in rows]


def change(api, agent="worker-0", query="", **values):
    return api.post(f"/agents/{agent}/conf{query}", data=values, format="json")


def shown(api, number, agent="worker-0"):
    (row,) = api.get("/api/v1/config-revisions/", {"agent": agent, "number": number}).json()[
        "results"
    ]
    return api.get(f"/api/v1/config-revisions/{row['id']}/").json()


def test_change__first__imports_what_was_there_and_makes_the_next_revision(operator_api, fleet):
    fleet()

    answer = change(operator_api, min_retrieve_tokens=512)

    assert answer.status_code == 200
    assert (answer["X-KVPlane-Revision"], answer["ETag"]) == ("2", '"2"')
    assert revisions() == [(1, "superseded", "import"), (2, "active", "change")]
    first, second = shown(operator_api, 1), shown(operator_api, 2)
    assert first["values"]["min_retrieve_tokens"] == 0
    assert first["diff"] == {}
    assert first["actor_kind"] == "controller"
    assert second["values"] == {**first["values"], "min_retrieve_tokens": 512}
    assert second["diff"] == {"min_retrieve_tokens": {"from": 0, "to": 512}}
    assert (second["parent"], second["restored_from"]) == (1, None)
    assert second["operation_id"] == answer["X-KVPlane-Operation"]
    assert second["actor_name"] == "operator/tests"


def test_change__value_that_the_agent_converts__revision_has_what_it_made_of_it(
    operator_api, fleet, agents
):
    _, simulated = fleet()
    original = agents.respond

    def converting(request):
        if request.method == "POST":
            simulated.conf["min_retrieve_tokens"] = 128
            return reply({"updated": {"min_retrieve_tokens": 128}})
        return original(request)

    agents.respond = converting
    change(operator_api, min_retrieve_tokens="128")

    revision = shown(operator_api, 2)
    assert revision["values"]["min_retrieve_tokens"] == 128
    assert revision["requested"] == {"min_retrieve_tokens": "128"}


def test_change__refused__is_kept_as_failed_and_never_active(operator_api, fleet):
    fleet()

    answer = change(operator_api, min_retrieve_tokens=-5)

    assert answer.status_code == 400
    assert answer["X-KVPlane-Revision"] == "2"
    assert "ETag" not in answer
    assert revisions() == [(1, "active", "import"), (2, "failed", "change")]
    assert shown(operator_api, 2)["refused"] == {
        "min_retrieve_tokens": "Failed to set config value: does not fit"
    }


def test_change__partly_refused__revision_holds_what_did_apply(operator_api, fleet):
    fleet()

    answer = change(operator_api, min_retrieve_tokens=7, chunk_size=1)

    assert answer.status_code == 400
    assert revisions()[1] == (2, "active", "change")
    revision = shown(operator_api, 2)
    assert revision["diff"] == {"min_retrieve_tokens": {"from": 0, "to": 7}}
    assert revision["refused"] == {"chunk_size": "Config is not mutable at runtime"}
    assert revision["values"]["chunk_size"] == 256


def test_change__agent_cannot_be_reached__attempt_is_on_record_as_failed(
    operator_api, make_agent, agents
):
    from controlplane.forwarding.transport import NotSent

    def refuse(request):
        raise NotSent("Connection refused")

    agents.respond = refuse
    make_agent()

    assert change(operator_api, min_retrieve_tokens=1).status_code == 502
    assert revisions() == [(1, "failed", "change")]


def test_change__agent_was_silent_at_first__later_import_completes_what_is_known(
    operator_api, fleet, agents
):
    _, simulated = fleet()
    original = agents.respond
    agents.respond = lambda request: (
        reply({"error": "e", "message": "m"}, 503) if request.method == "GET" else original(request)
    )
    change(operator_api, min_retrieve_tokens=1)
    assert shown(operator_api, 1)["values"] == {"min_retrieve_tokens": 1}
    assert shown(operator_api, 1)["complete"] is False

    agents.respond = original
    change(operator_api, save_decode_cache=True)

    assert revisions() == [
        (1, "superseded", "change"),
        (2, "superseded", "import"),
        (3, "active", "change"),
    ]
    assert shown(operator_api, 3)["values"] == simulated.conf
    assert shown(operator_api, 3)["complete"] is True


def test_change__no_answer__is_unknown_and_does_not_hold_up_the_next(operator_api, fleet):
    _, simulated = fleet()

    def lose(method, path):
        if method == "POST":
            raise TimedOut("the time is up")

    simulated.before = lose
    assert change(operator_api, min_retrieve_tokens=1).status_code == 504
    assert revisions()[1] == (2, "unknown", "change")

    simulated.before = lambda method, path: None
    change(operator_api, min_retrieve_tokens=2)
    assert revisions()[2] == (3, "active", "change")


def test_change__expected_revision_is_active__goes_through(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=1)

    assert (
        change(operator_api, query="?expected_revision=2", min_retrieve_tokens=2).status_code == 200
    )
    assert fleet is not None
    assert revisions()[-1][:2] == (3, "active")


@pytest.mark.parametrize("how", ["parameter", "header"])
def test_change__stale_writer__409_with_the_diff_and_nothing_is_sent(operator_api, fleet, how):
    _, simulated = fleet()
    change(operator_api, min_retrieve_tokens=1)
    change(operator_api, min_retrieve_tokens=2)

    options = (
        {"path": "/agents/worker-0/conf?expected_revision=2"}
        if how == "parameter"
        else {"path": "/agents/worker-0/conf", "headers": {"if-match": '"2"'}}
    )
    answer = operator_api.post(data={"min_retrieve_tokens": 9}, format="json", **options)

    assert answer.status_code == 409
    body = answer.json()
    assert (body["expected"], body["active"]) == (2, 3)
    assert body["diff"] == {"min_retrieve_tokens": {"from": 1, "to": 2}}
    assert "expected_revision=3" in body["message"]
    assert simulated.conf["min_retrieve_tokens"] == 2
    assert len(revisions()) == 3
    assert Operation.objects.count() == 2


def test_change__expected_revision__is_not_passed_on(operator_api, fleet, agents):
    fleet()
    change(operator_api, min_retrieve_tokens=1)
    change(operator_api, query="?atomic=true&expected_revision=2", min_retrieve_tokens=2)

    assert agents.requests[-1].target == "/conf?atomic=true"


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "", "99999999999"])
def test_change__expected_revision_is_no_number__400(operator_api, fleet, text):
    fleet()

    answer = change(operator_api, query=f"?expected_revision={text}", min_retrieve_tokens=1)

    assert answer.status_code == 400
    assert "expected_revision" in answer.json()["message"]
    assert revisions() == []


def test_freeze__with_expected_revision__400_naming_it(operator_api, fleet):
    fleet()

    answer = operator_api.put("/agents/worker-0/freeze/enable?expected_revision=1")

    assert answer.status_code == 400
    assert "expected_revision" in answer.json()["message"]


def test_change__secrets__are_stored_encrypted_and_shown_as_stars(operator_api, fleet, agents):
    fleet()
    agents.respond = lambda request: (
        reply({"updated": {"remote_url": "redis://u:hush@h:1", "api_key": "hush"}})
        if request.method == "POST"
        else reply({"remote_url": None, "api_key": ""})
    )
    change(operator_api, remote_url="redis://u:hush@h:1", api_key="hush")

    answer = (
        operator_api.get("/api/v1/config-revisions/").content + str(shown(operator_api, 2)).encode()
    )
    assert b"hush" not in answer
    assert b"***" in answer
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM configuration_configrevision")
        assert "hush" not in str(cursor.fetchall())
    from controlplane.configuration.services import find_active, real_values

    assert real_values(find_active("worker-0"))["api_key"] == "hush"


def test_diff__any_two__tells_what_changes(operator_api, fleet):
    fleet()
    for value in (1, 2, 3):
        change(operator_api, min_retrieve_tokens=value)
    identifier = shown(operator_api, 4)["id"]

    against_first = operator_api.get(f"/api/v1/config-revisions/{identifier}/diff?against=1")
    against_parent = operator_api.get(f"/api/v1/config-revisions/{identifier}/diff")

    assert against_first.json()["diff"] == {"min_retrieve_tokens": {"from": 0, "to": 3}}
    assert against_parent.json() == {
        "agent": "worker-0",
        "before": 3,
        "after": 4,
        "diff": {"min_retrieve_tokens": {"from": 2, "to": 3}},
    }


def test_diff__unknown_revision__404_naming_it(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=1)
    identifier = shown(operator_api, 2)["id"]

    answer = operator_api.get(f"/api/v1/config-revisions/{identifier}/diff?against=77")

    assert answer.status_code == 404
    assert "77" in answer.json()["message"]


def roll_back(api, number, **data):
    identifier = shown(api, number)["id"]
    return api.post(f"/api/v1/config-revisions/{identifier}/rollback", data=data, format="json")


def test_rollback__earlier_revision__makes_a_new_one_with_its_values(operator_api, fleet):
    _, simulated = fleet()
    change(operator_api, min_retrieve_tokens=1, save_decode_cache=True)
    change(operator_api, min_retrieve_tokens=2)

    answer = roll_back(operator_api, 1, reason="worse", expected_revision=3)

    assert answer.status_code == 200, answer.content
    made = answer.json()
    assert (made["number"], made["parent"], made["restored_from"]) == (4, 3, 1)
    assert (made["source"], made["state"], made["reason"]) == ("rollback", "active", "worse")
    assert simulated.conf["min_retrieve_tokens"] == 0
    assert simulated.conf["save_decode_cache"] is False
    assert made["values"] == shown(operator_api, 1)["values"]


def test_rollback__preview__tells_it_and_changes_nothing(operator_api, viewer_api, fleet):
    _, simulated = fleet()
    change(operator_api, min_retrieve_tokens=1)
    identifier = shown(operator_api, 1)["id"]

    preview = viewer_api.get(f"/api/v1/config-revisions/{identifier}/rollback-preview").json()

    assert preview == {
        "agent": "worker-0",
        "active": 2,
        "target": 1,
        "changes": {"min_retrieve_tokens": {"from": 1, "to": 0}},
        "left": {},
        "problems": {},
    }
    assert simulated.conf["min_retrieve_tokens"] == 1


def test_rollback__schema_does_not_take_the_old_value__400_and_nothing_is_sent(operator_api, fleet):
    _, simulated = fleet()
    change(operator_api, min_retrieve_tokens=5)
    change(operator_api, min_retrieve_tokens=50)
    simulated.schema["min_retrieve_tokens"]["minimum"] = 10

    answer = roll_back(operator_api, 2)

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"min_retrieve_tokens": "it must be at least 10"}
    assert simulated.conf["min_retrieve_tokens"] == 50
    assert len(revisions()) == 3


def test_rollback__to_what_is_active__409(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=5)

    assert roll_back(operator_api, 2).json()["error"] == "Nothing to restore"


def test_rollback__failed_revision__409(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=-5)

    answer = roll_back(operator_api, 2)

    assert answer.status_code == 409
    assert "never active" in answer.json()["error"]


def test_rollback__stale_writer__409(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=5)
    change(operator_api, min_retrieve_tokens=6)

    assert roll_back(operator_api, 1, expected_revision=2).json()["error"] == "Revision conflict"


def test_rollback__viewer__403(operator_api, viewer_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=5)

    identifier = shown(viewer_api, 1)["id"]
    answer = viewer_api.post(
        f"/api/v1/config-revisions/{identifier}/rollback", data={}, format="json"
    )
    assert answer.status_code == 403


def test_settled_revision__update_in_the_database__is_refused(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=5)

    for state in (RevisionState.ACTIVE, RevisionState.SUPERSEDED):
        rows = ConfigRevision.objects.filter(state=state)
        assert rows.exists()
        with pytest.raises(DatabaseError, match="do not change"), transaction.atomic():
            rows.update(values={})
    with pytest.raises(DatabaseError, match="do not change"), transaction.atomic():
        ConfigRevision.objects.filter(state=RevisionState.SUPERSEDED).update(
            state=RevisionState.PENDING
        )


def test_audit__import__is_on_record_by_the_controller(operator_api, fleet):
    fleet()
    change(operator_api, min_retrieve_tokens=5)

    entry = AuditEntry.objects.get(action="conf.import")
    assert (entry.actor_kind, entry.agent) == ("controller", "worker-0")


@pytest.mark.django_db(transaction=True)
def test_change__several_writers_at_once__take_turns_and_each_builds_on_the_one_before(
    operator_api, fleet, api_as
):
    _, simulated = fleet()
    change(operator_api, min_retrieve_tokens=1)
    wanted = {"min_retrieve_tokens": 9, "save_decode_cache": True, "remote_serde": "zstd"}
    barrier = threading.Barrier(len(wanted))
    statuses = []

    def write(key, value):
        barrier.wait()
        try:
            statuses.append(change(operator_api, **{key: value}).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=item) for item in wanted.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * len(wanted)
    assert [row[:2] for row in revisions()][-1] == (5, "active")
    active = ConfigRevision.objects.get(state="active")
    assert {key: active.values[key] for key in wanted} == wanted
    assert simulated.conf == active.values


@pytest.mark.django_db(transaction=True)
def test_change__while_another_has_no_answer__409_and_after_its_deadline_it_goes_on(
    operator_api, fleet, monkeypatch
):
    from controlplane.operations import services

    monkeypatch.setattr(services, "_TURN_SECONDS", 0.05)
    fleet()
    change(operator_api, min_retrieve_tokens=1)
    ConfigRevision.objects.create(
        agent="worker-0",
        number=3,
        parent=2,
        state="pending",
        source="change",
        request_id="other",
        actor_kind="user",
        actor_name="bob",
        created_at=timezone.now(),
        deadline_at=timezone.now() + timedelta(hours=1),
    )

    answer = change(operator_api, min_retrieve_tokens=2)
    assert (answer.status_code, answer.json()["error"]) == (409, "Change in progress")

    ConfigRevision.objects.filter(number=3).update(deadline_at=timezone.now())
    assert change(operator_api, min_retrieve_tokens=2).status_code == 200
    assert [row[:2] for row in revisions()][2:] == [(3, "unknown"), (4, "active")]
