"""`/lookup/*` and `/chunk_statistics/*` over HTTP."""

import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from engine.agent.app import create_app
from tests.engine.agent.conftest import MakeAgent

PLAIN, ASYNC = "LMCacheLookupClient", "LMCacheAsyncLookupClient"
SERVER = "LMCacheLookupServer"
DOCUMENTED_STATUS = [
    *("is_collecting", "total_chunks", "unique_chunks", "timestamp", "auto_exit_enabled"),
    *("auto_exit_timeout_hours", "auto_exit_target_unique_chunks"),
]


@pytest.fixture
def worker(make_worker: MakeAgent) -> Iterator[TestClient]:
    agent = make_worker()
    yield TestClient(create_app(agent), base_url="http://127.0.0.1:7000")
    agent.workers.abandon()


@pytest.fixture
def counting(make_scheduler: MakeAgent) -> Iterator[TestClient]:
    """A scheduler whose lookup client counts chunks."""
    agent = make_scheduler(enable_chunk_statistics=True)
    yield TestClient(create_app(agent), base_url="http://127.0.0.1:6999")
    agent.workers.abandon()


def look(client: TestClient) -> dict[str, object]:
    return client.get("/lookup/info").json()


def change(client: TestClient, verb: str, query: str = "") -> dict[str, object]:
    answer = client.post(f"/lookup/{verb}{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def find(client: TestClient, tokens: str) -> dict[str, object]:
    answer = client.post("/lookup/query", params={"tokens_mock": tokens})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_info__scheduler_and_worker__as_documented(
    scheduler: TestClient, worker: TestClient
) -> None:
    assert look(scheduler) == {"client": PLAIN, "server": "None", "role": "scheduler"}
    assert look(worker) == {"client": "None", "server": SERVER, "role": "worker"}


def test_recreate__after_a_change__says_old_and_new(
    scheduler: TestClient, worker: TestClient
) -> None:
    for client in (scheduler, worker):
        assert client.post("/conf", json={"enable_async_loading": True}).status_code == 200
    assert change(worker, "recreate") == {
        "old": SERVER,
        "new": "LMCacheAsyncLookupServer",
        "role": "worker",
    }
    assert change(scheduler, "recreate") == {"old": PLAIN, "new": ASYNC, "role": "scheduler"}
    assert look(scheduler)["client"] == ASYNC


def test_close_and_create__one_after_the_other__as_documented(scheduler: TestClient) -> None:
    assert change(scheduler, "close") == {"old": PLAIN, "role": "scheduler"}
    assert change(scheduler, "close") == {"old": "None", "role": "scheduler"}
    assert look(scheduler)["client"] == "None"
    assert change(scheduler, "create") == {"new": PLAIN, "role": "scheduler"}
    assert change(scheduler, "create") == {"old": PLAIN, "new": PLAIN, "role": "scheduler"}


def test_recreate__after_a_close__works_as_create(scheduler: TestClient) -> None:
    change(scheduler, "close")
    assert change(scheduler, "recreate") == {"old": "None", "new": PLAIN, "role": "scheduler"}


def test_dryrun__every_change__says_what_would_come_and_does_nothing(
    scheduler: TestClient, worker: TestClient
) -> None:
    scheduler.post("/conf", json={"enable_async_loading": True, "hit_miss_ratio": 0.5})
    after = f"HitLimitLookupClient({ASYNC})"
    end = {"dryrun": True, "role": "scheduler"}
    assert change(scheduler, "create", "?dryrun=true") == {"old": PLAIN, "new": after, **end}
    assert change(scheduler, "recreate", "?dryrun=1") == {"old": PLAIN, "new": after, **end}
    assert change(scheduler, "close", "?dryrun=TRUE") == {"old": PLAIN, **end}
    assert look(scheduler)["client"] == PLAIN
    assert change(worker, "close", "?dryrun=true") == {
        "old": SERVER,
        "dryrun": True,
        "role": "worker",
    }
    assert look(worker)["server"] == SERVER


def test_dryrun__nothing_there__has_no_old(scheduler: TestClient) -> None:
    change(scheduler, "close")
    assert change(scheduler, "create", "?dryrun=true") == {
        "new": PLAIN,
        "dryrun": True,
        "role": "scheduler",
    }


@pytest.mark.parametrize("verb", ["create", "recreate"])
@pytest.mark.parametrize("query", ["", "?dryrun=true"])
def test_create__what_cannot_be__is_refused_and_changes_nothing(
    scheduler: TestClient, verb: str, query: str
) -> None:
    scheduler.post("/conf", json={"enable_scheduler_bypass_lookup": True})
    answer = scheduler.post(f"/lookup/{verb}{query}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "Lookup unavailable"
    assert "enable_scheduler_bypass_lookup" in answer.json()["message"]
    assert look(scheduler)["client"] == PLAIN


def test_dryrun__not_a_boolean__is_refused(scheduler: TestClient) -> None:
    answer = scheduler.post("/lookup/close?dryrun=maybe")
    assert answer.status_code == 400
    assert "dryrun" in answer.json()["message"]
    assert look(scheduler)["client"] == PLAIN


def test_query__stored_tokens__are_found_by_the_scheduler(
    scheduler: TestClient, worker: TestClient
) -> None:
    worker.post("/cache/store?tokens_mock=0,40").raise_for_status()
    found = find(scheduler, "0,64")
    assert (found["num_tokens"], found["num_hit"], found["client"]) == (64, 32, PLAIN)
    assert 0 < found["seconds"] < 30
    assert find(scheduler, "100,164")["num_hit"] == 0


def test_query__on_a_worker__says_whom_to_ask(worker: TestClient) -> None:
    answer = worker.post("/lookup/query?tokens_mock=0,64")
    assert answer.status_code == 503
    assert answer.json()["error"] == "/lookup/query API is unavailable"
    assert "scheduler" in answer.json()["message"]


@pytest.mark.parametrize("tokens", ["", "5", "5,5", "9,1", "-1,4", "0,100000000", "a,b"])
def test_query__tokens_that_make_no_sense__are_refused(scheduler: TestClient, tokens: str) -> None:
    answer = scheduler.post("/lookup/query", params={"tokens_mock": tokens})
    assert answer.status_code == 400
    assert "tokens_mock" in answer.json()["message"]


def test_query__worker_is_gone__is_answered_soon(scheduler: TestClient, worker: TestClient) -> None:
    change(worker, "close")
    started = time.monotonic()
    assert find(scheduler, "0,64")["num_hit"] == 0
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "start"), ("POST", "stop"), ("POST", "reset"), ("GET", "status")],
)
def test_statistics__client_does_not_count__as_documented(
    scheduler: TestClient, worker: TestClient, method: str, path: str
) -> None:
    answer = scheduler.request(method, f"/chunk_statistics/{path}")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Not available",
        "message": "Client does not support statistics.",
    }
    assert worker.request(method, f"/chunk_statistics/{path}").status_code == 503


def test_statistics__after_a_close__are_not_available(counting: TestClient) -> None:
    change(counting, "close")
    assert counting.get("/chunk_statistics/status").status_code == 400


def test_statistics__started_stopped_reset__as_documented(counting: TestClient) -> None:
    for verb, message in (("start", "Started"), ("stop", "Stopped"), ("reset", "Reset")):
        for _ in range(2):
            answer = counting.post(f"/chunk_statistics/{verb}")
            assert answer.json() == {"status": "success", "message": message}


def test_statistics__prompts_looked_up__are_counted(
    counting: TestClient, worker: TestClient
) -> None:
    find(counting, "0,64")
    counting.post("/chunk_statistics/start")
    find(counting, "0,64")
    find(counting, "0,128")
    status = counting.get("/chunk_statistics/status").json()
    assert list(status)[:7] == DOCUMENTED_STATUS
    assert (status["total_chunks"], status["unique_chunks"]) == (12, 8)
    assert (status["duplicate_chunks"], status["total_requests"]) == (4, 2)
    assert status["reuse_rate"] == pytest.approx(4 / 12)
    assert status["is_collecting"] is True
    assert status["lookup_overhead_seconds"] > 0
    assert abs(status["timestamp"] - time.time()) < 60
    counting.post("/chunk_statistics/stop")
    find(counting, "0,256")
    assert counting.get("/chunk_statistics/status").json()["total_chunks"] == 12
    counting.post("/chunk_statistics/reset")
    assert counting.get("/chunk_statistics/status").json()["total_chunks"] == 0


def test_statistics__in_agent_status_and_metrics__as_in_their_own(
    counting: TestClient, worker: TestClient
) -> None:
    counting.post("/chunk_statistics/start")
    find(counting, "0,64")
    counting.get("/chunk_statistics/status")
    status = counting.get("/agent/status").json()
    assert status["lookup"] == {"client": f"ChunkStatisticsLookupClient({PLAIN})", "server": "None"}
    assert status["chunk_statistics"]["total_chunks"] == 4
    assert status["counters"]["lookup_requests"] == 1
    metrics = counting.get("/metrics").text
    assert 'kvplane_chunk_statistics_chunks{kind="unique"} 4.0' in metrics
    assert "kvplane_lookup_requests_total 1.0" in metrics
    assert "kvplane_lookup_served_requests_total 1.0" in worker.get("/metrics").text
    assert worker.get("/agent/status").json()["lookup"] == {"client": "None", "server": SERVER}
    assert worker.get("/agent/status").json()["chunk_statistics"] is None
