"""`/cache/*`, `/freeze/*`, `/hot_cache/*`: real bytes through a real engine."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.agent.workers import Stopping, Work, Workers
from engine.lookup.tally import SCHEDULER_EVENTS
from tests.support.waiting import eventually

ALL_SLOTS = {"slot_mapping": "[0,63]", "chunk_size": "16"}


def checksums(client: TestClient) -> list[str]:
    return client.get("/cache/kvcache/check", params=ALL_SLOTS).json()["chunk_checksums"]


def test_store_and_retrieve__whole_chunks__restore_the_bytes(
    client: TestClient, agent: Agent
) -> None:
    before = checksums(client)
    stored = client.post("/cache/store?tokens_mock=0,40")
    assert stored.json() == {"status": "success", "num_tokens": 40, "num_stored": 32}
    agent.cache.kv_cache.fill_random(seed=2)
    overwritten = checksums(client)
    retrieved = client.post("/cache/retrieve?tokens_mock=0,40")
    assert retrieved.json() == {"status": "success", "num_tokens": 40, "num_retrieved": 32}
    after = checksums(client)
    assert after[:2] == before[:2]
    assert after[2:] == overwritten[2:]
    assert before[:2] != overwritten[:2]


def test_store__save_unfull_chunk__stores_the_last_part(client: TestClient) -> None:
    client.post("/conf", json={"save_unfull_chunk": True})
    assert client.post("/cache/store?tokens_mock=0,40").json()["num_stored"] == 40


def test_store__again__nothing_new(client: TestClient) -> None:
    stored = [client.post("/cache/store?tokens_mock=0,32").json()["num_stored"] for _ in "ab"]
    assert stored == [32, 0]


def test_store__other_tokens__do_not_match(client: TestClient) -> None:
    client.post("/cache/store?tokens_mock=0,32")
    answer = client.post("/cache/retrieve?tokens_mock=1000000000000000,1000000000000032")
    assert answer.json() == {"status": "success", "num_tokens": 32, "num_retrieved": 0}


@pytest.mark.parametrize(
    "query", ["", "?locations=LocalCPUBackend", "?locations=LocalCPUBackend&x"]
)
def test_clear__chunks_stored__counted(client: TestClient, query: str) -> None:
    client.post("/cache/store?tokens_mock=0,48")
    answer = client.delete(f"/cache/clear{query}")
    assert answer.json() == {
        "status": "success",
        "num_removed": 3,
        "removed": {"LocalCPUBackend": 3},
    }
    assert client.post("/cache/retrieve?tokens_mock=0,48").json()["num_retrieved"] == 0


def test_clear__while_frozen__allowed(client: TestClient) -> None:
    client.post("/cache/store?tokens_mock=0,48")
    client.put("/freeze/enable")
    assert client.delete("/cache/clear").json()["num_removed"] == 3


def test_check__documented_mapping__compressed_in_order(client: TestClient) -> None:
    answer = client.get(
        "/cache/kvcache/check", params={"slot_mapping": "1,2,3,[9,12],17,19", "chunk_size": 4}
    )
    document = answer.json()
    assert document["slot_mapping_ranges"] == [[1, 3], [9, 12], 17, 19]
    assert (document["num_chunks"], len(document["chunk_checksums"])) == (3, 3)
    assert (document["chunk_size"], document["layerwise"]) == (4, False)


def test_check__layerwise__by_layer(client: TestClient) -> None:
    answer = client.get("/cache/kvcache/check", params={**ALL_SLOTS, "layerwise": "True"})
    document = answer.json()
    assert document["layerwise"] is True
    assert {name: len(found) for name, found in document["chunk_checksums"].items()} == {
        "model.layers.0": 4,
        "model.layers.1": 4,
    }


@pytest.mark.parametrize("layerwise", ["true", "false"])
def test_check__more_slots_than_one_turn_hashes__as_in_one_piece(
    client: TestClient, agent: Agent, layerwise: str
) -> None:
    mapping = ",".join(["[0,63]"] * 200)
    answer = client.get(
        "/cache/kvcache/check",
        params={"slot_mapping": mapping, "chunk_size": 1_000, "layerwise": layerwise},
    )
    small = client.get(
        "/cache/kvcache/check",
        params={"slot_mapping": mapping, "chunk_size": 8, "layerwise": layerwise},
    ).json()
    document = answer.json()
    assert (document["num_chunks"], small["num_chunks"]) == (13, 1_600)
    found = document["chunk_checksums"], small["chunk_checksums"]
    if layerwise == "true":
        found = found[0]["model.layers.1"], found[1]["model.layers.1"]
    assert [len(digests) for digests in found] == [13, 1_600]
    assert found[1][:8] == found[1][8:16]


def test_check__long_answer__same_digests_as_a_short_one(client: TestClient) -> None:
    mapping = ",".join(["[0,63]"] * 200)
    answer = client.get(
        "/cache/kvcache/check", params={"slot_mapping": mapping, "chunk_size": 1}
    ).json()
    short = client.get(
        "/cache/kvcache/check", params={"slot_mapping": "[0,63]", "chunk_size": 1}
    ).json()
    assert answer["num_chunks"] == 12_800
    assert answer["chunk_checksums"] == short["chunk_checksums"] * 200


def test_record_slot__on__one_structured_line_per_call(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.post("/cache/kvcache/record_slot?enabled=TRUE")
    with caplog.at_level(logging.INFO):
        client.post("/cache/store?tokens_mock=0,32", headers={"X-Request-ID": "store-1"})
        client.post("/cache/retrieve?tokens_mock=0,32", headers={"X-Request-ID": "get-1"})
    lines = [json.loads(r.getMessage()) for r in caplog.records if "store-1" in r.getMessage()]
    lines += [json.loads(r.getMessage()) for r in caplog.records if "get-1" in r.getMessage()]
    assert [(line["direction"], line["num_tokens"], line["slots"]) for line in lines] == [
        ("store", 32, [[0, 31]]),
        ("retrieve", 32, [[0, 31]]),
    ]


def test_record_slot__asked_and_switched__says_so(client: TestClient) -> None:
    states = [
        client.post(f"/cache/kvcache/record_slot{query}").json()["kvcache_check_log_enabled"]
        for query in ("", "?enabled=true", "", "?enabled=False", "")
    ]
    assert states == [False, True, True, False, False]


def test_kvcache_info__asked__every_layer(client: TestClient) -> None:
    document = client.get("/cache/kvcache/info").json()
    assert document["num_layers"] == 2
    assert document["layers"]["model.layers.0"] == {
        "shape": [2, 16, 4, 2, 8],
        "dtype": "torch.float32",
        "device": "cpu",
    }


def test_freeze__enabled__documented_answers_and_nothing_stored(client: TestClient) -> None:
    assert client.put("/freeze/enable").json() == {
        "status": "success",
        "freeze": True,
        "message": "Freeze mode enabled successfully",
    }
    assert client.get("/freeze/status").json()["message"] == "Freeze mode is enabled"
    stored = client.post("/cache/store?tokens_mock=0,32").json()
    assert stored == {"status": "success", "num_tokens": 32, "num_stored": 0}
    assert client.put("/freeze/disable").json() == {
        "status": "success",
        "freeze": False,
        "message": "Freeze mode disabled successfully",
    }
    assert client.get("/freeze/status").json() == {
        "status": "success",
        "freeze": False,
        "message": "Freeze mode is disabled",
    }


def test_hot_cache__disabled_and_enabled__documented_answers(client: TestClient) -> None:
    client.post("/cache/store?tokens_mock=0,32")
    assert client.put("/hot_cache/disable").json() == {
        "status": "success",
        "hot_cache": False,
        "message": "Hot cache disabled successfully",
    }
    assert client.get("/hot_cache/status").json()["message"] == "Hot cache is disabled"
    assert client.post("/cache/store?tokens_mock=0,32").json()["num_stored"] == 0
    assert client.put("/hot_cache/enable").json() == {
        "status": "success",
        "hot_cache": True,
        "message": "Hot cache enabled successfully",
    }
    assert client.get("/hot_cache/status").json()["message"] == "Hot cache is enabled"
    assert client.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0


def test_status__of_a_worker__tells_modes_usage_and_counters(client: TestClient) -> None:
    client.post("/cache/store?tokens_mock=0,32")
    client.put("/freeze/enable")
    status = client.get("/agent/status").json()
    assert (status["freeze"], status["hot_cache"]) == (True, True)
    assert status["storage"]["LocalCPUBackend"]["chunks"] == 2
    assert status["counters"]["stored_tokens"] == 32
    assert status["versions"]["vllm"] is None


def test_status__of_a_scheduler__has_no_cache_to_tell_of(scheduler: TestClient) -> None:
    status = scheduler.get("/agent/status").json()
    assert (status["freeze"], status["hot_cache"]) == (None, None)
    assert status["storage"] == {}
    assert set(status["counters"]) == {event.value for event in SCHEDULER_EVENTS}


def test_status__two_agents__different_boot_ids(make_worker) -> None:
    assert make_worker().boot_id != make_worker().boot_id


async def _while_work_is_stuck(agent: Agent, path: str) -> httpx.Response:
    """Ask with every transfer and checksum thread waiting."""
    go_on = threading.Event()
    stuck = [
        asyncio.create_task(agent.workers.run(work, go_on.wait, 60))
        for work in (Work.TRANSFER, Work.TRANSFER, Work.TRANSFER, Work.CHECKSUM)
    ]
    transport = httpx.ASGITransport(create_app(agent))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            method = "PUT" if path.endswith("enable") else "GET"
            return await asyncio.wait_for(client.request(method, path), timeout=30)
    finally:
        go_on.set()
        await asyncio.gather(*stuck)


@pytest.mark.parametrize("path", ["/freeze/status", "/agent/status", "/freeze/enable", "/conf"])
def test_other_calls__while_stores_and_checksums_run__are_answered(agent: Agent, path: str) -> None:
    assert asyncio.run(_while_work_is_stuck(agent, path)).status_code == 200


def test_other_calls__while_clears_of_a_slow_store_run__are_answered(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(agent.cache, "clear", lambda locations: {"": int(not go_on.wait(60))})

    async def scenario() -> list[int]:
        transport = httpx.ASGITransport(create_app(agent))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            clears = [asyncio.create_task(client.delete("/cache/clear")) for _ in range(3)]
            try:
                calls = [client.put("/freeze/enable"), client.get("/metrics")]
                answers = [await asyncio.wait_for(call, timeout=30) for call in calls]
            finally:
                go_on.set()
            answers += await asyncio.gather(*clears)
            return [answer.status_code for answer in answers]

    assert asyncio.run(scenario()) == [200] * 5


def test_workers__started__later_work_starts_no_thread() -> None:
    async def scenario(workers: Workers) -> set[int | None]:
        known = {thread.ident for thread in threading.enumerate()}
        return {await workers.run(work, threading.get_ident) for work in Work} - known

    workers = Workers()
    workers.start()
    assert asyncio.run(scenario(workers)) == set()
    workers.abandon()


def test_workers__abandoned__let_waiting_callers_go_and_take_no_more() -> None:
    async def scenario() -> list[BaseException | bool]:
        workers = Workers()
        go_on = threading.Event()
        jobs = [asyncio.create_task(workers.run(Work.CHECKSUM, go_on.wait, 60)) for _ in range(2)]
        async with asyncio.timeout(30):
            while not workers.busy:
                await asyncio.sleep(0)
        workers.abandon()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        outcomes += await asyncio.gather(
            workers.run(Work.CHANGE, go_on.is_set), return_exceptions=True
        )
        go_on.set()
        return outcomes

    assert [type(outcome) for outcome in asyncio.run(scenario())] == [Stopping] * 3


def test_checksum__caller_gone__stops_hashing(agent: Agent, monkeypatch) -> None:
    turns: list[int] = []
    hash_part = agent.cache.checksums
    monkeypatch.setattr(
        agent.cache, "checksums", lambda runs, size: (turns.append(1), hash_part(runs, size))[1]
    )
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])
    sent: list[object] = []

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    mapping = ",".join(["[0,63]"] * 400)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/cache/kvcache/check",
        "query_string": f"chunk_size=64&slot_mapping={mapping}".encode(),
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(create_app(agent)(scope, receive, send))
    assert len(turns) == 1
    assert sent == []


def test_clear__remote_store_hangs__mode_bypass_and_metrics_are_answered_meanwhile(
    make_worker, silent_url: str
) -> None:
    agent = make_worker(remote_url=f"redis://{silent_url}", blocking_timeout_secs=4.0)
    client = TestClient(create_app(agent), base_url="http://127.0.0.1:7000")
    clears = [threading.Thread(target=client.delete, args=("/cache/clear",)) for _ in range(2)]
    for clear in clears:
        clear.start()
    eventually(lambda: agent.workers.busy)
    answers = [
        client.request(method, path).status_code
        for method, path in (
            ("PUT", "/freeze/enable"),
            ("PUT", "/bypass/add?backend_name=RemoteBackend"),
            ("GET", "/metrics"),
        )
    ]
    assert answers == [200, 200, 200]
    assert all(clear.is_alive() for clear in clears)
    for clear in clears:
        clear.join()
    agent.workers.abandon()


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Host and port of a store to which one can connect, and which says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
