"""`/api/v1/tier-statistics/` and what is below it."""

import csv
import io
import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.accounts.models import ApiToken
from controlplane.statistics.models import TierStatisticsSnapshot
from tests.controlplane.statistics.samples import at
from tests.controlplane.statistics.tier_samples import DISK, KIB, MEMORY, TierReporter, tier

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/tier-statistics/"


@pytest.fixture
def recorded(make_agent) -> list[TierStatisticsSnapshot]:
    """Three snapshots of worker-0 in two runs, and one of worker-1 of another engine."""
    first = TierReporter(make_agent("worker-0", engine="engine-a"))
    second = TierReporter(make_agent("worker-1", worker_id=1, engine="engine-b"))
    rows = [
        first.says(0, {MEMORY: tier(10, 4), DISK: tier(6, 3)}, requested_tokens=10),
        first.says(60, {MEMORY: tier(30, 9), DISK: tier(21, 15, 7)}, requested_tokens=30),
    ]
    first.boot_id = "boot-2"
    rows.append(first.says(120, {MEMORY: tier(0, 0)}, requested_tokens=0))
    return [*rows, second.says_memory(180, 5, 5)]


def iso(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def ids(response) -> list[int]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


def test_list__snapshots__newest_first_with_all_that_is_known(viewer_api, recorded):
    response = viewer_api.get(ROOT)

    assert ids(response) == [row.pk for row in reversed(recorded)]
    assert response.json()["results"][2] == {
        "id": recorded[1].pk,
        "agent": "worker-0",
        "engine": "engine-a",
        "taken_at": iso(60),
        "trigger": "interval",
        "boot_id": "boot-1",
        "run": 1,
        "requested_tokens": 30,
        "retrieved_tokens": None,
        "stored_tokens": None,
        "tiers": {MEMORY: tier(30, 9), DISK: tier(21, 15, 7)},
        "resolution_s": 0,
    }


def test_retrieve__one__by_its_number(viewer_api, recorded):
    assert viewer_api.get(f"{ROOT}{recorded[3].pk}/").json()["agent"] == "worker-1"
    assert viewer_api.get(f"{ROOT}999999/").status_code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("agent=worker-0", [2, 1, 0]),
        ("agent=nobody", []),
        ("engine=engine-b", [3]),
        ("trigger=restart", []),
        ("run=2", [2]),
        (f"since={iso(60)}&until={iso(180)}", [2, 1]),
        ("ordering=taken_at", [0, 1, 2, 3]),
    ],
)
def test_list__filter_or_ordering__selects(viewer_api, recorded, query, expected):
    assert ids(viewer_api.get(f"{ROOT}?{query}")) == [recorded[place].pk for place in expected]


@pytest.mark.parametrize("path", ["", "export"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("trigger=whim", "trigger"),
        ("run=0", "run"),
        ("since=yesterday", "since"),
        ("ordering=tiers", "ordering"),
    ],
)
def test_list_and_export__bad_filter__is_400_naming_it(viewer_api, path, query, field):
    response = viewer_api.get(f"{ROOT}{path}?{query}")

    assert response.status_code == 400
    assert field in response.json()["fields"]


def test_series__of_an_agent__is_its_buckets_and_gaps_are_null(viewer_api, recorded):
    response = viewer_api.get(
        f"{ROOT}series?agent=worker-0&since={iso(0)}&until={iso(240)}&bucket=60"
    )

    assert response.status_code == 200
    _, second, third, fourth = response.json()
    assert second == {
        "start": iso(60),
        "end": iso(120),
        "samples": 1,
        "runs": 1,
        "agents": 1,
        "requested_tokens": 20,
        "retrieved_tokens": None,
        "stored_tokens": None,
        "tiers": {
            DISK: {
                "looked_up_tokens": 15,
                "hit_tokens": 12,
                "hit_rate": 0.8,
                "chunks": 7,
                "used_bytes": 7 * KIB,
                "capacity_bytes": 64 * KIB,
            },
            MEMORY: {
                "looked_up_tokens": 20,
                "hit_tokens": 5,
                "hit_rate": 0.25,
                "chunks": 1,
                "used_bytes": KIB,
                "capacity_bytes": 64 * KIB,
            },
        },
        "begun": [],
    }
    assert third["begun"] == [iso(120)]
    assert third["tiers"][MEMORY]["hit_rate"] is None
    assert (fourth["samples"], fourth["agents"], fourth["begun"]) == (0, 0, [])
    assert (fourth["tiers"], fourth["requested_tokens"]) == (None, None)


def test_series__of_an_engine__leaves_others_out(viewer_api, recorded):
    response = viewer_api.get(
        f"{ROOT}series/?engine=engine-a&since={iso(0)}&until={iso(240)}&bucket=3600"
    )

    (bucket,) = response.json()
    assert (bucket["samples"], bucket["runs"], bucket["agents"]) == (3, 2, 1)
    assert bucket["tiers"][MEMORY]["looked_up_tokens"] == 20


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "agent"),
        ("agent=worker-0&engine=engine-a", "agent"),
        ("agent=worker-0&since=1969-12-31T00:00:00Z", "since"),
        (f"agent=worker-0&since={iso(1)}&until={iso(0)}", "since"),
        ("agent=worker-0&bucket=0", "bucket"),
        ("agent=worker-0&bucket=1", "bucket"),
    ],
)
def test_series__bad_parameter__is_400_naming_it(viewer_api, make_agent, query, name):
    make_agent("worker-0")

    response = viewer_api.get(f"{ROOT}series?{query}")

    assert response.status_code == 400
    assert f"'{name}'" in response.json()["message"]


@pytest.mark.parametrize("query", ["agent=nobody", "engine=nothing"])
def test_series__unknown_name__is_404(viewer_api, query):
    assert viewer_api.get(f"{ROOT}series?{query}").status_code == 404


def test_export__csv__has_names_then_a_line_for_each(viewer_api, recorded):
    response = viewer_api.get(f"{ROOT}export?agent=worker-0&ordering=taken_at")

    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "tier-statistics.csv" in response["Content-Disposition"]
    body = b"".join(response.streaming_content).decode()
    lines = list(csv.DictReader(io.StringIO(body, newline="")))
    assert [int(line["id"]) for line in lines] == [row.pk for row in recorded[:3]]
    assert (lines[1]["requested_tokens"], lines[1]["stored_tokens"]) == ("30", "")
    assert json.loads(lines[1]["tiers"])[DISK]["hit_tokens"] == 15


def test_series__of_an_engine__queries_do_not_grow_with_its_snapshots(viewer_api, make_agent):
    reporter = TierReporter(make_agent("worker-0", engine="engine-a"))
    ApiToken.objects.update(last_used_at=timezone.now())

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            url = f"{ROOT}series?engine=engine-a&since={iso(0)}&until={iso(3_600)}&bucket=60"
            assert viewer_api.get(url).status_code == 200
        return len(captured)

    reporter.says_memory(0, 1, 1)
    few = queries()
    for seconds in range(1, 200, 10):
        reporter.says_memory(seconds, seconds, 1)

    assert queries() == few


@pytest.mark.parametrize("path", ["", "series?agent=worker-0", "export"])
def test_reading__without_a_token__is_401(client, recorded, path):
    assert client.get(f"{ROOT}{path}").status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_snapshots__nobody__may_change_them(admin_api, recorded, method):
    for path in (ROOT, f"{ROOT}{recorded[0].pk}/"):
        assert getattr(admin_api, method)(path, {}, format="json").status_code == 405
    assert TierStatisticsSnapshot.objects.count() == 4
