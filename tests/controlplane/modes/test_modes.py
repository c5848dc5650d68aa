"""Modes: what is desired, and the history of how it came."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes.models import DesiredMode, ModeChange

pytestmark = pytest.mark.django_db


def desired(api, **filters) -> list[dict]:
    return api.get("/api/v1/modes/", filters).json()["results"]


def history(api, **filters) -> list[dict]:
    return api.get("/api/v1/mode-changes/", {"ordering": "id", **filters}).json()["results"]


def put(api, path, **headers):
    return api.put(f"/agents/worker-0{path}", headers=headers)


def test_freeze__on_and_off__desired_state_and_history_tell_it(operator_api, viewer_api, fleet):
    fleet()

    first = put(operator_api, "/freeze/enable", **{"X-KVPlane-Reason": "deploy"})
    put(operator_api, "/freeze/disable")

    (now,) = desired(viewer_api)
    assert (now["agent"], now["mode"], now["value"]) == ("worker-0", "freeze", False)
    one, two = history(viewer_api)
    assert (one["from_value"], one["to_value"], one["state"]) == (None, True, "applied")
    assert (one["reason"], one["actor_name"]) == ("deploy", "operator/tests")
    assert one["operation_id"] == first["X-KVPlane-Operation"]
    assert (two["from_value"], two["to_value"]) == (True, False)


def test_bypass__two_backends__are_two_switches(operator_api, fleet):
    fleet()

    put(operator_api, "/bypass/add?backend_name=RemoteBackend")
    put(operator_api, "/bypass/add?backend_name=%20LocalDiskBackend")
    put(operator_api, "/bypass/remove?backend_name=RemoteBackend")

    assert [(row["backend"], row["value"]) for row in desired(operator_api, mode="bypass")] == [
        ("RemoteBackend", False),
        ("LocalDiskBackend", True),
    ]
    assert [row["from_value"] for row in history(operator_api)] == [False, False, True]


def test_hot_cache__off__is_desired(operator_api, fleet):
    fleet()

    put(operator_api, "/hot_cache/disable")

    assert [(row["mode"], row["value"]) for row in desired(operator_api)] == [("hot_cache", False)]


def test_bypass__unknown_backend__is_history_and_not_desired(operator_api, fleet):
    fleet()

    assert put(operator_api, "/bypass/add?backend_name=Nowhere").status_code == 400

    assert desired(operator_api) == []
    assert [row["state"] for row in history(operator_api)] == ["failed"]


@pytest.mark.parametrize(("error", "state"), [(NotSent, "failed"), (TimedOut, "unknown")])
def test_freeze__agent_does_not_answer__nothing_new_is_desired(operator_api, fleet, error, state):
    _, simulated = fleet()

    def fail(method, path):
        raise error("no")

    simulated.before = fail
    put(operator_api, "/freeze/enable")

    assert desired(operator_api) == []
    assert [row["state"] for row in history(operator_api)] == [state]


def test_freeze__for_a_while__says_until_when_and_back_to_what(operator_api, fleet):
    fleet()
    before = timezone.now()

    put(operator_api, "/freeze/enable", **{"X-KVPlane-Expires-In": "1200"})

    row = DesiredMode.objects.get()
    assert timedelta(seconds=1199) < row.expires_at - before < timedelta(seconds=1210)
    assert row.revert_to is False
    assert [entry["agent"] for entry in desired(operator_api, temporary="true")] == ["worker-0"]


def test_freeze__for_a_while_on_top_of_one_for_good__leads_back_to_that(operator_api, fleet):
    fleet()
    put(operator_api, "/freeze/enable")
    put(operator_api, "/freeze/disable", **{"X-KVPlane-Expires-In": "60"})
    put(operator_api, "/freeze/disable", **{"X-KVPlane-Expires-In": "600"})

    assert DesiredMode.objects.get().revert_to is True


def test_freeze__at_a_moment__is_read_with_its_zone(operator_api, fleet):
    fleet()
    moment = (timezone.now() + timedelta(hours=1)).replace(microsecond=0)

    put(operator_api, "/freeze/enable", **{"X-KVPlane-Expires-At": moment.isoformat()})

    assert DesiredMode.objects.get().expires_at == moment


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"X-KVPlane-Expires-In": "soon"}, "X-KVPlane-Expires-In"),
        ({"X-KVPlane-Expires-In": "0"}, "X-KVPlane-Expires-In"),
        ({"X-KVPlane-Expires-In": "nan"}, "X-KVPlane-Expires-In"),
        ({"X-KVPlane-Expires-In": "1e99"}, "X-KVPlane-Expires-In"),
        ({"X-KVPlane-Expires-At": "tomorrow"}, "X-KVPlane-Expires-At"),
        ({"X-KVPlane-Expires-At": "2026-02-31T00:00:00Z"}, "X-KVPlane-Expires-At"),
        ({"X-KVPlane-Expires-At": "9999-12-31T23:59:59-12:00"}, "X-KVPlane-Expires-At"),
        ({"X-KVPlane-Expires-At": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"X-KVPlane-Expires-At": "2030-01-01T00:00:00Z", "X-KVPlane-Expires-In": "9"}, "both"),
    ],
)
def test_freeze__bad_expiry__400_names_the_header_and_nothing_is_sent(
    operator_api, fleet, headers, named
):
    _, simulated = fleet()

    answer = put(operator_api, "/freeze/enable", **headers)

    assert answer.status_code == 400
    assert named in answer.json()["message"]
    assert simulated.freeze is False
    assert not ModeChange.objects.exists()


def test_freeze__expiry_in_the_query__is_kept_and_not_passed_on(operator_api, fleet, agents):
    fleet()
    moment = (timezone.now() + timedelta(hours=1)).replace(microsecond=0)

    for given in ({"expires_at": moment.isoformat()}, {"expires_in_s": "3600"}):
        answer = operator_api.put(f"/freeze/enable?{urlencode(given)}")
        assert answer.status_code == 200, answer.content
        lasts = DesiredMode.objects.get().expires_at - moment
        assert abs(lasts) < timedelta(seconds=30)

    assert {request.target for request in agents.requests if request.method == "PUT"} == {
        "/freeze/enable"
    }


@pytest.mark.parametrize(
    ("query", "headers", "named"),
    [
        ("expires_in_s=-1", {}, "'expires_in_s'"),
        ("expires_at=soon", {}, "'expires_at'"),
        ("expires_in_s=60", {"X-KVPlane-Expires-In": "60"}, "both"),
        ("expires_in_s=60&expires_at=2030-01-01T00:00:00Z", {}, "both"),
    ],
)
def test_freeze__bad_expiry_in_the_query__400_names_the_parameter(
    operator_api, fleet, query, headers, named
):
    _, simulated = fleet()

    answer = operator_api.put(f"/freeze/enable?{query}", headers=headers)

    assert answer.status_code == 400
    assert named in answer.json()["message"]
    assert simulated.freeze is False


def test_clear__with_expiry__400(operator_api, fleet):
    fleet()

    answer = operator_api.delete(
        "/agents/worker-0/cache/clear", headers={"X-KVPlane-Expires-In": "60"}
    )

    assert answer.status_code == 400
    assert "expires_at" in answer.json()["message"]
