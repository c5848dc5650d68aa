"""`/api/v1/chunk-statistics/` and what is below it."""

import csv
import io
import json
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.accounts.models import ApiToken
from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import NotSent
from controlplane.statistics import export
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from engine.contract import Role
from tests.controlplane.statistics.samples import NOON, Reporter, at, counted
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/chunk-statistics/"


@pytest.fixture
def recorded(make_agent) -> list[ChunkStatisticsSnapshot]:
    """Three snapshots of worker-0 in two runs, and one of worker-1 of another engine."""
    first = Reporter(make_agent("worker-0", engine="engine-a"))
    second = Reporter(make_agent("worker-1", worker_id=1, engine="engine-b"))
    return [
        first.says(0, unique=10, duplicate=10, requests=2),
        first.says(60, unique=12, duplicate=14, requests=3),
        first.says(120, unique=0, requests=0, trigger=Trigger.RESET),
        second.says(180, unique=1),
    ]


def iso(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def ids(response) -> list[int]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


def body_of(response) -> str:
    return b"".join(response.streaming_content).decode()


def lines_of(response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body_of(response), newline="")))


def test_list__snapshots__newest_first_with_all_that_is_known(viewer_api, recorded):
    response = viewer_api.get(ROOT)

    assert ids(response) == [row.pk for row in reversed(recorded)]
    assert response.json()["results"][2] == {
        "id": recorded[1].pk,
        "agent": "worker-0",
        "engine": "engine-a",
        "taken_at": iso(60),
        "reported_at": NOON.timestamp() + 60,
        "trigger": "interval",
        "boot_id": "boot-1",
        "run": 1,
        "enabled": True,
        "strategy": "memory_bloom_filter",
        "total_requests": 3,
        "total_chunks": 26,
        "unique_chunks": 12,
        "duplicate_chunks": 14,
        "reuse_rate": 14 / 26,
        "counters": {"lookup_requests": 3},
        "resolution_s": 0,
    }


def test_retrieve__one__by_its_number(viewer_api, recorded):
    assert viewer_api.get(f"{ROOT}{recorded[0].pk}/").json()["total_chunks"] == 20
    assert viewer_api.get(f"{ROOT}999999/").status_code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("agent=worker-0", [2, 1, 0]),
        ("agent=nobody", []),
        ("engine=engine-b", [3]),
        ("trigger=reset", [2]),
        ("run=2", [2]),
        (f"since={iso(60)}&until={iso(180)}", [2, 1]),
        ("ordering=taken_at", [0, 1, 2, 3]),
        ("ordering=-taken_at", [3, 2, 1, 0]),
        ("ordering=id", [0, 1, 2, 3]),
    ],
)
def test_list__filter_or_ordering__selects(viewer_api, recorded, query, expected):
    assert ids(viewer_api.get(f"{ROOT}?{query}")) == [recorded[place].pk for place in expected]


@pytest.mark.parametrize("path", ["", "export"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("trigger=whim", "trigger"),
        ("run=one", "run"),
        ("run=1.5", "run"),
        ("run=0", "run"),
        ("run=99999999999999999999", "run"),
        ("since=yesterday", "since"),
        ("until=9999-12-31T23:59:59-14:00", "until"),
        ("ordering=counters", "ordering"),
    ],
)
def test_list_and_export__bad_filter__is_400_naming_it(viewer_api, path, query, field):
    response = viewer_api.get(f"{ROOT}{path}?{query}")

    assert response.status_code == 400
    assert field in response.json()["fields"]


def test_list__queries__are_two_however_many_rows(viewer_api, recorded):
    ApiToken.objects.update(last_used_at=timezone.now())

    with CaptureQueriesContext(connection) as captured:
        assert len(ids(viewer_api.get(ROOT))) == 4

    assert len(captured) == 2, [query["sql"] for query in captured]


def test_series__of_an_agent__is_its_buckets(viewer_api, recorded):
    response = viewer_api.get(
        f"{ROOT}series?agent=worker-0&since={iso(0)}&until={iso(240)}&bucket=60"
    )

    assert response.status_code == 200
    first, second, third, fourth = response.json()
    assert (first["start"], first["end"], first["samples"]) == (iso(0), iso(60), 1)
    assert second == {
        "start": iso(60),
        "end": iso(120),
        "samples": 1,
        "runs": 1,
        "total_requests": 1,
        "total_chunks": 6,
        "unique_chunks": 2,
        "duplicate_chunks": 4,
        "reuse_rate": 4 / 6,
    }
    assert (third["total_chunks"], third["reuse_rate"]) == (0, None)
    assert (fourth["samples"], fourth["total_chunks"]) == (0, None)


def test_series__of_an_engine__leaves_others_out(viewer_api, recorded):
    response = viewer_api.get(
        f"{ROOT}series/?engine=engine-a&since={iso(0)}&until={iso(240)}&bucket=3600"
    )

    (bucket,) = response.json()
    assert (bucket["samples"], bucket["runs"], bucket["total_chunks"]) == (3, 2, 6)


def test_series__no_bounds__is_the_last_day_by_the_hour(viewer_api, make_agent):
    make_agent("worker-0")
    before = timezone.now()

    buckets = viewer_api.get(f"{ROOT}series?agent=worker-0").json()

    # On the hour sharp 24 hold a day.
    assert len(buckets) in (24, 25)
    start, end = (datetime.fromisoformat(buckets[-1][name]) for name in ("start", "end"))
    assert end - start == timedelta(hours=1)
    assert before < end <= timezone.now() + timedelta(hours=1)
    assert {bucket["samples"] for bucket in buckets} == {0}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "agent"),
        ("agent=worker-0&engine=engine-a", "agent"),
        ("agent=", "agent"),
        (f"agent={'a' * 129}", "agent"),
        ("agent=worker-0&since=yesterday", "since"),
        ("agent=worker-0&since=0001-01-01T00:00:00%2B14:00", "since"),
        ("agent=worker-0&since=1969-12-31T00:00:00Z", "since"),
        ("agent=worker-0&until=9999-12-31T23:59:59-14:00", "until"),
        ("agent=worker-0&until=0001-01-01T00:00:00Z", "until"),
        (f"agent=worker-0&since={iso(1)}&until={iso(0)}", "since"),
        ("agent=worker-0&since=9990-01-01T00:00:00Z", "since"),
        ("agent=worker-0&bucket=0", "bucket"),
        ("agent=worker-0&bucket=2678401", "bucket"),
        ("agent=worker-0&bucket=x", "bucket"),
        ("agent=worker-0&bucket=1", "bucket"),
        (f"agent=worker-0&bucket={'9' * 2000}", "bucket"),
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
    assert response.streaming
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "chunk-statistics.csv" in response["Content-Disposition"]
    lines = lines_of(response)
    assert [int(line["id"]) for line in lines] == [row.pk for row in recorded[:3]]
    assert lines[1]["taken_at"] == "2026-03-02T12:01:00+00:00"
    assert (lines[1]["agent"], lines[1]["run"], lines[1]["enabled"]) == ("worker-0", "1", "true")
    assert float(lines[1]["reuse_rate"]) == 14 / 26
    assert json.loads(lines[1]["counters"]) == {"lookup_requests": 3}


def test_export__nothing_matches__is_the_names_alone(viewer_api):
    body = body_of(viewer_api.get(f"{ROOT}export/"))

    assert body.startswith("id,agent,engine,taken_at,")
    assert body.endswith("\r\n")
    assert body.count("\r\n") == 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_export__text_like_a_formula__begins_with_an_apostrophe(viewer_api, recorded, text):
    ChunkStatisticsSnapshot.objects.update(strategy=text)

    (line, *_) = lines_of(viewer_api.get(f"{ROOT}export"))

    assert line["strategy"] == f"'{text}"


@pytest.mark.parametrize(
    ("accept", "of_an_error"),
    [
        ("text/csv", "application/json"),
        ("application/json", "application/json"),
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8"),
    ],
)
def test_export__whatever_is_accepted__is_csv_and_errors_are_json_or_a_page(
    viewer_api, recorded, accept, of_an_error
):
    good = viewer_api.get(f"{ROOT}export", headers={"accept": accept})
    bad = viewer_api.get(f"{ROOT}export?run=x", headers={"accept": accept})

    assert (good.status_code, good["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert (bad.status_code, bad["Content-Type"]) == (400, of_an_error)


@pytest.mark.parametrize("ordering", ["id", "-id", "taken_at", "-taken_at"])
def test_export__several_pages__hold_every_row_once_in_order(
    viewer_api, recorded, monkeypatch, ordering
):
    whole = lines_of(viewer_api.get(f"{ROOT}export?ordering={ordering}"))
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 1)

    assert lines_of(viewer_api.get(f"{ROOT}export?ordering={ordering}")) == whole


def test_export__queries__are_one_a_page(viewer_api, recorded):
    ApiToken.objects.update(last_used_at=timezone.now())

    with CaptureQueriesContext(connection) as captured:
        assert len(lines_of(viewer_api.get(f"{ROOT}export"))) == 4

    assert len(captured) == 2, [query["sql"] for query in captured]


@pytest.fixture
def scheduler(agents, make_agent):
    """An agent that counts."""
    answers = {
        "/chunk_statistics/status": counted(30, 10),
        "/agent/status": {
            "boot_id": "boot-1",
            "started_at": 1.0,
            "counters": {},
            "chunk_statistics": counted(30, 10),
        },
    }
    agents.respond = lambda request: reply(answers[request.target])
    return make_agent("scheduler", role=Role.SCHEDULER)


def test_sample__by_an_operator__is_201_on_the_list_and_on_record(operator_api, scheduler):
    response = operator_api.post(f"{ROOT}sample", {"agent": "scheduler"}, format="json")

    assert response.status_code == 201
    assert (response.json()["trigger"], response.json()["total_chunks"]) == ("manual", 40)
    assert ids(operator_api.get(ROOT)) == [response.json()["id"]]
    entry = AuditEntry.objects.get(action="chunk_statistics.sample")
    assert (entry.actor_name, entry.agent) == ("operator/tests", "scheduler")


def test_sample__by_a_viewer__is_403_and_no_agent_is_called(viewer_api, scheduler, agents):
    response = viewer_api.post(f"{ROOT}sample", {"agent": "scheduler"}, format="json")

    assert response.status_code == 403
    assert agents.requests == []


@pytest.mark.parametrize("path", ["", "series?agent=scheduler", "export"])
def test_reading__without_a_token__is_401(client, scheduler, path):
    assert client.get(f"{ROOT}{path}").status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_snapshots__nobody__may_change_them(operator_api, recorded, method):
    for path in (ROOT, f"{ROOT}{recorded[0].pk}/"):
        assert getattr(operator_api, method)(path, {}, format="json").status_code == 405
    assert ChunkStatisticsSnapshot.objects.count() == 4


@pytest.mark.parametrize(
    "body",
    [{}, {"agent": None}, {"agent": ""}, {"agent": True}, {"agent": "a b"}, {"agent": ["a"]}],
)
def test_sample__bad_body__is_400_naming_the_field(operator_api, body):
    response = operator_api.post(f"{ROOT}sample", body, format="json")

    assert response.status_code == 400
    assert "agent" in response.json()["fields"]


def test_sample__unknown_agent__is_404(operator_api, db):
    response = operator_api.post(f"{ROOT}sample", {"agent": "nobody"}, format="json")

    assert response.status_code == 404
    assert "nobody" in response.json()["message"]


def test_sample__agent_that_counts_nothing__is_409_with_the_remedy(operator_api, scheduler, agents):
    agents.respond = lambda request: reply({"error": "x", "message": "No lookup client."}, 503)

    response = operator_api.post(f"{ROOT}sample", {"agent": "scheduler"}, format="json")

    assert response.status_code == 409
    assert "enable_chunk_statistics" in response.json()["message"]


def test_sample__agent_that_is_gone__is_502(operator_api, scheduler, agents):
    def respond(request):
        raise NotSent("connection refused")

    agents.respond = respond

    response = operator_api.post(f"{ROOT}sample", {"agent": "scheduler"}, format="json")

    assert response.status_code == 502
    assert response.json()["agent"] == "scheduler"


def test_openapi__these_paths__are_described_without_warnings(tmp_path):
    call_command(
        "spectacular",
        "--validate",
        "--fail-on-warn",
        "--urlconf",
        "tests.controlplane.statistics.urls",
        "--file",
        str(tmp_path / "schema.yml"),
    )

    described = (tmp_path / "schema.yml").read_text("utf-8")
    for path in ("", "series/", "export/", "sample/"):
        assert f"{ROOT}{path}:\n" in described
    for path in ("", "series/", "export/"):
        assert f"/api/v1/tier-statistics/{path}:\n" in described
