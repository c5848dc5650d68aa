"""`/lookup/*` and `/chunk_statistics/*`, through every door."""

from collections.abc import Iterator

import httpx
import pytest

from tests.contract.conftest import CHUNK_SIZE, DOORS, Door, Stack, open_door

COUNTING = "ChunkStatisticsLookupClient({})"
PLAIN, ASYNC, BYPASS = (
    COUNTING.format(f"LMCache{kind}LookupClient") for kind in ("", "Async", "Bypass")
)
SERVER, ASYNC_SERVER = "LMCacheLookupServer", "LMCacheAsyncLookupServer"
OFF = {
    "error": "Not available",
    "message": "Client does not support statistics.",
}


@pytest.fixture(params=DOORS)
def worker_door(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Door]:
    """The worker, through each door, with 3 chunks in its cache and a lookup server
    as after a start."""
    with open_door(stack, request.param, "worker", stack.worker_url) as client:
        prepare_worker(client)
        yield Door(request.param, client)


@pytest.fixture
def filled(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the worker itself, which has what `worker_door`'s has."""
    with open_door(stack, "agent", "worker", stack.worker_url) as client:
        prepare_worker(client)
        yield client


def prepare_worker(client: httpx.Client) -> None:
    for method, path in (
        ("PUT", "/freeze/disable"),
        ("PUT", "/hot_cache/enable"),
        ("DELETE", "/cache/clear"),
    ):
        client.request(method, path).raise_for_status()
    settings = {"enable_async_loading": False, "save_unfull_chunk": False}
    client.post("/conf", json=settings).raise_for_status()
    client.post("/lookup/recreate").raise_for_status()
    tokens = f"0,{3 * CHUNK_SIZE}"
    client.post("/cache/store", params={"tokens_mock": tokens}).raise_for_status()


def post(door: Door, path: str, **params: str) -> dict[str, object]:
    answer = door.request("POST", path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def configure(door: Door, **settings: object) -> None:
    door.request("POST", "/conf", json=settings).raise_for_status()


def hits(door: Door) -> object:
    return post(door, "/lookup/query", tokens_mock=f"0,{5 * CHUNK_SIZE}")["num_hit"]


def test_info__of_each_role__as_documented(scheduler_door: Door, filled: httpx.Client) -> None:
    assert scheduler_door.get("/lookup/info").json() == {
        "client": PLAIN,
        "server": "None",
        "role": "scheduler",
    }
    assert filled.get("/lookup/info").json() == {
        "client": "None",
        "server": SERVER,
        "role": "worker",
    }


@pytest.mark.parametrize(
    ("setting", "client"),
    [
        ({"enable_async_loading": True}, ASYNC),
        ({"enable_scheduler_bypass_lookup": True}, BYPASS),
        ({"hit_miss_ratio": 1.0}, COUNTING.format("HitLimitLookupClient(LMCacheLookupClient)")),
        ({"enable_chunk_statistics": False}, "LMCacheLookupClient"),
    ],
)
def test_recreate__after_a_change_of_the_scheduler__is_the_new_client_that_finds_the_same(
    scheduler_door: Door, filled: httpx.Client, setting: dict[str, object], client: str
) -> None:
    assert hits(scheduler_door) == 3 * CHUNK_SIZE
    configure(scheduler_door, **setting)
    assert scheduler_door.get("/lookup/info").json()["client"] == PLAIN
    assert post(scheduler_door, "/lookup/recreate") == {
        "old": PLAIN,
        "new": client,
        "role": "scheduler",
    }
    assert scheduler_door.get("/lookup/info").json()["client"] == client
    assert hits(scheduler_door) == 3 * CHUNK_SIZE


def test_recreate__after_a_change_of_the_worker__as_documented(worker_door: Door) -> None:
    configure(worker_door, enable_async_loading=True)
    assert post(worker_door, "/lookup/recreate") == {
        "old": SERVER,
        "new": ASYNC_SERVER,
        "role": "worker",
    }
    assert worker_door.get("/lookup/info").json()["server"] == ASYNC_SERVER


def test_close__of_the_client__finds_nothing_until_it_is_created(
    scheduler_door: Door, filled: httpx.Client
) -> None:
    assert post(scheduler_door, "/lookup/close") == {"old": PLAIN, "role": "scheduler"}
    assert scheduler_door.get("/lookup/info").json()["client"] == "None"
    assert hits(scheduler_door) == 0
    assert post(scheduler_door, "/lookup/create") == {"new": PLAIN, "role": "scheduler"}
    assert hits(scheduler_door) == 3 * CHUNK_SIZE
    assert post(scheduler_door, "/lookup/create") == {
        "old": PLAIN,
        "new": PLAIN,
        "role": "scheduler",
    }


def test_close__of_the_server__is_without_one_until_it_is_recreated(worker_door: Door) -> None:
    assert post(worker_door, "/lookup/close") == {"old": SERVER, "role": "worker"}
    assert worker_door.get("/lookup/info").json()["server"] == "None"
    assert post(worker_door, "/lookup/recreate") == {
        "old": "None",
        "new": SERVER,
        "role": "worker",
    }


def test_dryrun__of_every_change__shows_it_and_changes_nothing(scheduler_door: Door) -> None:
    configure(scheduler_door, enable_async_loading=True)
    dry = {"dryrun": True, "role": "scheduler"}
    assert post(scheduler_door, "/lookup/close", dryrun="true") == {"old": PLAIN, **dry}
    for verb, written in (("create", "TRUE"), ("recreate", "1")):
        shown = post(scheduler_door, f"/lookup/{verb}", dryrun=written)
        assert shown == {"old": PLAIN, "new": ASYNC, **dry}
    assert scheduler_door.get("/lookup/info").json()["client"] == PLAIN
    post(scheduler_door, "/lookup/close")
    assert post(scheduler_door, "/lookup/create", dryrun="true") == {"new": ASYNC, **dry}
    assert scheduler_door.get("/lookup/info").json()["client"] == "None"


@pytest.mark.parametrize("verb", ["close", "create", "recreate"])
def test_dryrun__repeated__last_wins(scheduler_door: Door, verb: str) -> None:
    path = f"/lookup/{verb}"
    previewed = scheduler_door.request("POST", f"{path}?dryrun=false&dryrun=true")
    assert previewed.json()["dryrun"] is True
    assert "x-kvplane-operation" not in previewed.headers
    done = scheduler_door.request("POST", f"{path}?dryrun=true&dryrun=false")
    assert "dryrun" not in done.json()
    assert ("x-kvplane-operation" in done.headers) is scheduler_door.is_controlplane


def test_query__stored_tokens__leading_ones_that_are_cached(
    scheduler_door: Door, filled: httpx.Client
) -> None:
    found = post(scheduler_door, "/lookup/query", tokens_mock=f"0,{4 * CHUNK_SIZE + 1}")
    seconds = found.pop("seconds")
    assert found == {
        "status": "success",
        "num_tokens": 4 * CHUNK_SIZE + 1,
        "num_hit": 3 * CHUNK_SIZE,
        "client": PLAIN,
    }
    assert isinstance(seconds, float)
    assert 0 < seconds < 30


BAD_QUERIES = [
    ("/lookup/close", "dryrun=maybe", "dryrun"),
    ("/lookup/create", "dryrun=", "dryrun"),
    ("/lookup/recreate", "dryrun=true&dryrun=2", "dryrun"),
    ("/lookup/query", "", "tokens_mock"),
    ("/lookup/query", "tokens_mock=7", "tokens_mock"),
    ("/lookup/query", "tokens_mock=9,9", "tokens_mock"),
    ("/lookup/query", "tokens_mock=-1,9", "tokens_mock"),
    ("/lookup/query", "tokens_mock=0,1e3", "tokens_mock"),
    ("/lookup/query", "tokens_mock=0,100000000", "tokens_mock"),
    ("/lookup/query", "tokens_mock=9223372036854775000,9223372036854776000", "tokens_mock"),
    ("/lookup/query", "tokens_mock=0," + "9" * 400, "tokens_mock"),
]


@pytest.mark.parametrize(("path", "query", "parameter"), BAD_QUERIES)
def test_query__bad_value__400_naming_it_and_nothing_changes(
    scheduler_door: Door, path: str, query: str, parameter: str
) -> None:
    answer = scheduler_door.request("POST", f"{path}?{query}")
    assert answer.status_code == 400, answer.text
    assert parameter in answer.json()["message"]
    assert scheduler_door.get("/lookup/info").json()["client"] == PLAIN


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/lookup/query?tokens_mock=0,64"),
        ("POST", "/chunk_statistics/start"),
        ("POST", "/chunk_statistics/stop"),
        ("POST", "/chunk_statistics/reset"),
        ("GET", "/chunk_statistics/status"),
    ],
)
def test_worker__has_no_lookup_client__says_unavailable(
    worker_door: Door, method: str, path: str
) -> None:
    answer = worker_door.request(method, path)
    assert answer.status_code == 503
    assert answer.json()["error"] == f"{path.partition('?')[0]} API is unavailable"
    assert "scheduler" in answer.json()["message"]


def test_statistics__client_does_not_count__400_as_documented(scheduler_door: Door) -> None:
    configure(scheduler_door, enable_chunk_statistics=False)
    post(scheduler_door, "/lookup/recreate")
    for method, verb in (("POST", "start"), ("POST", "stop"), ("POST", "reset"), ("GET", "status")):
        answer = scheduler_door.request(method, f"/chunk_statistics/{verb}")
        assert (answer.status_code, answer.json()) == (400, OFF)


def test_statistics__prompts_looked_up__are_counted_across_a_recreate(
    scheduler_door: Door, filled: httpx.Client
) -> None:
    for verb, message in (("stop", "Stopped"), ("reset", "Reset"), ("start", "Started")):
        done = post(scheduler_door, f"/chunk_statistics/{verb}")
        assert done == {"status": "success", "message": message}
    hits(scheduler_door)
    configure(scheduler_door, enable_async_loading=True)
    post(scheduler_door, "/lookup/recreate")
    hits(scheduler_door)
    status = scheduler_door.get("/chunk_statistics/status").json()
    assert status["is_collecting"] is True
    assert (status["total_chunks"], status["unique_chunks"]) == (10, 5)
    assert (status["total_requests"], status["reuse_rate"]) == (2, 0.5)
    assert status["auto_exit_enabled"] is False
    post(scheduler_door, "/chunk_statistics/stop")
    hits(scheduler_door)
    stopped = scheduler_door.get("/chunk_statistics/status").json()
    assert (stopped["is_collecting"], stopped["total_chunks"]) == (False, 10)
