"""Operations and their targets as they are read over HTTP."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.operations.models import Operation, OperationTarget, State

pytestmark = pytest.mark.django_db
URL = "/api/v1/operations/"


def make(counts: dict[State, int], state=State.PARTIALLY_FAILED) -> Operation:
    """An operation on record with so many targets of each state."""
    operation = Operation.objects.create(
        action="freeze.enable",
        endpoint="enable_freeze",
        actor_kind="token",
        actor_name="ada",
        actor_ref="token:1",
        request_id="r",
        state=state,
        created_at=timezone.now(),
    )
    states = [state for state, count in counts.items() for _ in range(count)]
    OperationTarget.objects.bulk_create(
        OperationTarget(operation=operation, agent=f"w{number:04}", state=state, wave=number // 50)
        for number, state in enumerate(states)
    )
    return operation


def names(page: dict) -> list[str]:
    return [target["agent"] for target in page["results"]]


def pages(api, url: str) -> list[dict]:
    found = []
    while url:
        found.append(api.get(url).json())
        url = found[-1]["next"]
    return found


def test_list__of_large_operations__counts_and_links_instead_of_targets(viewer_api):
    large = make({State.SUCCEEDED: 480, State.FAILED: 19, State.UNKNOWN: 1})
    make({State.CANCELLED: 2})

    answer = viewer_api.get(URL)

    small, shown = answer.json()["results"]
    assert shown["id"] == str(large.pk)
    assert "targets" not in shown
    assert shown["target_counts"] == {"failed": 19, "succeeded": 480, "unknown": 1}
    assert small["target_counts"] == {"cancelled": 2}
    assert shown["targets_url"].endswith(f"{URL}{large.pk}/targets")
    assert len(answer.content) < 4096


def test_list__many_large_ones__as_many_queries_as_for_one(viewer_api):
    make({State.SUCCEEDED: 3})
    viewer_api.get(URL)
    with CaptureQueriesContext(connection) as one:
        viewer_api.get(URL)
    for _ in range(20):
        make({State.SUCCEEDED: 3, State.FAILED: 1})

    with CaptureQueriesContext(connection) as many:
        assert len(viewer_api.get(URL).json()["results"]) == 21

    assert len(many) == len(one)


def test_detail__of_a_small_one__has_every_target(viewer_api):
    operation = make({State.SUCCEEDED: 60, State.FAILED: 40})

    shown = viewer_api.get(f"{URL}{operation.pk}/").json()

    assert len(shown["targets"]) == 100
    assert shown["targets_left_out"] == 0
    assert shown["targets"][0]["agent"] == "w0000"


def test_detail__of_a_large_one__has_the_first_and_says_how_many_more(viewer_api):
    operation = make({State.SUCCEEDED: 240, State.FAILED: 10})

    shown = viewer_api.get(f"{URL}{operation.pk}/").json()

    assert [target["agent"] for target in shown["targets"]] == [f"w{n:04}" for n in range(100)]
    assert shown["targets_left_out"] == 150
    assert shown["target_counts"] == {"failed": 10, "succeeded": 240}


def test_targets__by_pages__each_once_in_the_order_of_the_plan(viewer_api):
    operation = make({State.SUCCEEDED: 240, State.FAILED: 10})
    other = make({State.FAILED: 3})

    url = viewer_api.get(f"{URL}{operation.pk}/").json()["targets_url"]
    found = pages(viewer_api, f"{url}?page_size=100")

    assert [len(page["results"]) for page in found] == [100, 100, 50]
    assert [name for page in found for name in names(page)] == [f"w{n:04}" for n in range(250)]
    assert len(names(viewer_api.get(f"{URL}{other.pk}/targets/").json())) == 3


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"state": "failed"}, ["w0002", "w0003"]),
        ({"agent": "w0001"}, ["w0001"]),
        ({"agent": "w0001", "state": "failed"}, []),
    ],
)
def test_targets__filtered__are_those(viewer_api, filters, expected):
    operation = make({State.SUCCEEDED: 2, State.FAILED: 2})

    assert names(viewer_api.get(f"{URL}{operation.pk}/targets/", filters).json()) == expected


@pytest.mark.parametrize("query", ["state=maybe", "cursor=x", "page_size=0", "ordering=agent"])
def test_targets__bad_input__is_400_naming_it(viewer_api, query):
    operation = make({State.SUCCEEDED: 1})

    answer = viewer_api.get(f"{URL}{operation.pk}/targets/?{query}")

    assert answer.status_code == 400
    assert query.split("=")[0] in answer.json()["message"]


def test_targets__of_no_operation__is_404(viewer_api):
    answer = viewer_api.get(f"{URL}{uuid.uuid4()}/targets/")

    assert (answer.status_code, answer.json()["error"]) == (404, "Operation not found")


def test_targets__nobody_logged_in__is_401(client):
    operation = make({State.SUCCEEDED: 1})

    assert client.get(f"{URL}{operation.pk}/targets/").status_code == 401


@pytest.mark.parametrize("call", ["cancel", "retry"])
def test_change__answer__has_the_body_of_the_detail(operator_api, fleet, call):
    fleet("w0000")
    operation = make({State.FAILED: 1}, State.RUNNING if call == "cancel" else State.FAILED)

    shown = operator_api.post(f"{URL}{operation.pk}/{call}").json()

    assert shown["targets_left_out"] == 0
    assert [target["agent"] for target in shown["targets"]] == ["w0000"]
    assert sum(shown["target_counts"].values()) == 1
