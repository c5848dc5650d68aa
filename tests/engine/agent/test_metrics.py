"""`GET /metrics`, read back by Prometheus' own parser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.contract import TokenRange
from tests.engine.agent.conftest import MakeAgent

CHUNK_BYTES = 16 * 2 * 2 * 2 * 8 * 4
"""Tokens, layers, K and V, heads, head size, bytes an element."""


@pytest.fixture
def agent(make_worker: MakeAgent, tmp_path: Path) -> Iterator[Agent]:
    agent = make_worker(local_disk=str(tmp_path / "disk"), max_local_disk_size=0.01)
    yield agent
    agent.cache.close()


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Values by name and label values, as the exposition has them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics__store_retrieve_and_miss__are_counted_with_denominators(
    client: TestClient, agent: Agent
) -> None:
    client.post("/cache/store?tokens_mock=0,48")
    assert agent.cache.storage.flush(30)
    client.delete("/cache/clear?locations=LocalCPUBackend")
    client.post("/cache/retrieve?tokens_mock=0,64")
    client.post("/cache/retrieve?tokens_mock=0,64")
    found = samples(client)
    memory, disk = "LocalCPUBackend", "LocalDiskBackend"
    assert found["kvplane_store_requests_total",] == 1
    assert found["kvplane_offered_tokens_total",] == 48
    assert found["kvplane_stored_tokens_total",] == 48
    assert found["kvplane_requested_tokens_total",] == 128
    assert found["kvplane_retrieved_tokens_total",] == 96
    assert found["kvplane_retrieve_seconds_total",] > 0
    assert found["kvplane_backend_looked_up_tokens_total", memory] == 128
    assert found["kvplane_backend_hit_tokens_total", memory] == 48
    assert found["kvplane_backend_looked_up_chunks_total", disk] == 5
    assert found["kvplane_backend_hit_chunks_total", disk] == 3
    assert found["kvplane_backend_missed_chunks_total", disk] == 2
    assert found["kvplane_backend_stored_bytes_total", memory] == 3 * CHUNK_BYTES
    assert found["kvplane_backend_stored_bytes_total", disk] == 3 * CHUNK_BYTES
    assert found["kvplane_backend_loaded_bytes_total", disk] == 3 * CHUNK_BYTES
    assert found["kvplane_backend_load_seconds_total", disk] > 0
    assert found["kvplane_backend_chunks", disk] == 3
    assert found["kvplane_backend_used_bytes", disk] > 0
    assert found["kvplane_backend_queued_chunks", disk] == 0
    assert found["kvplane_backend_breaker_open", disk] == 0
    assert found["kvplane_staging_used_bytes",] == 0


def test_status__retrieve_after_a_clear_of_memory__counts_for_the_disk_as_the_metrics_do(
    client: TestClient, agent: Agent
) -> None:
    client.post("/cache/store?tokens_mock=0,48")
    assert agent.cache.storage.flush(30)
    client.post("/cache/retrieve?tokens_mock=0,48")
    client.delete("/cache/clear?locations=LocalCPUBackend")
    client.post("/cache/retrieve?tokens_mock=0,64")
    storage = client.get("/agent/status").json()["storage"]
    counts = {
        name: (tier["looked_up_tokens"], tier["hit_tokens"]) for name, tier in storage.items()
    }
    assert counts == {"LocalCPUBackend": (112, 48), "LocalDiskBackend": (64, 48)}
    found = samples(client)
    for name, (looked_up, hit) in counts.items():
        assert found["kvplane_backend_looked_up_tokens_total", name] == looked_up
        assert found["kvplane_backend_hit_tokens_total", name] == hit


def test_metrics__modes__show(client: TestClient) -> None:
    client.put("/freeze/enable")
    client.put("/hot_cache/disable")
    client.put("/bypass/add?backend_name=LocalDiskBackend")
    found = samples(client)
    assert found["kvplane_frozen",] == 1
    assert found["kvplane_hot_cache_enabled",] == 0
    assert found["kvplane_backend_bypassed", "LocalDiskBackend"] == 1
    assert found["kvplane_backend_bypassed", "LocalCPUBackend"] == 0
    client.post("/cache/store?tokens_mock=0,48")
    assert samples(client)["kvplane_stores_stopped_total", "frozen"] == 1


def test_metrics__lookups_and_what_is_held_for_them__are_counted(
    make_worker: MakeAgent, make_scheduler: MakeAgent
) -> None:
    agents = make_worker(), make_scheduler(enable_chunk_statistics=True, lookup_timeout_ms=10_000)
    worker, scheduler = (
        TestClient(create_app(agent), base_url="http://127.0.0.1:7000") for agent in agents
    )
    clients = agents[1].lookup
    worker.post("/cache/store?tokens_mock=0,48")
    scheduler.post("/chunk_statistics/start")
    assert clients.lookup(range(80), "held") == 48
    held = samples(worker)
    assert (held["kvplane_held_requests",], held["kvplane_held_chunks",]) == (1, 3)
    assert (held["kvplane_holds_expired_total",], held["kvplane_holds_refused_total",]) == (0, 0)
    clients.forget("held")
    clients.statistics.flush(10)
    asked, served = samples(scheduler), samples(worker)
    assert asked["kvplane_lookup_requests_total",] == 1
    assert asked["kvplane_lookup_tokens_total",] == 80
    assert asked["kvplane_lookup_hit_tokens_total",] == 48
    assert asked["kvplane_lookup_seconds_total",] > 0
    assert asked["kvplane_lookup_timeouts_total",] == 0
    assert asked["kvplane_lookup_unreachable_total",] == 0
    assert asked["kvplane_lookup_refusals_total",] == 0
    assert asked["kvplane_chunk_statistics_chunks", "unique"] == 5
    assert asked["kvplane_chunk_statistics_chunks", "duplicate"] == 0
    assert asked["kvplane_chunk_statistics_collecting",] == 1
    assert asked["kvplane_chunk_statistics_dropped_requests",] == 0
    assert served["kvplane_lookup_served_requests_total",] == 1
    assert served["kvplane_lookup_served_chunks_total",] == 5
    assert served["kvplane_lookup_served_hit_chunks_total",] == 3
    assert served["kvplane_lookup_served_faults_total",] == 0
    for agent in agents:
        agent.workers.abandon()


def test_metrics__worker_is_gone__is_counted(make_scheduler: MakeAgent) -> None:
    agent = make_scheduler(lookup_timeout_ms=50)
    assert agent.lookup.lookup(range(80), "a") == 0
    client = TestClient(create_app(agent), base_url="http://127.0.0.1:6999")
    found = samples(client)
    assert found["kvplane_lookup_timeouts_total",] == 1
    assert found["kvplane_lookup_hit_tokens_total",] == 0
    agent.workers.abandon()


def test_metrics__eviction__shows_its_age(make_worker: MakeAgent) -> None:
    agent = make_worker(max_local_cpu_size=3 * 4096 / (1 << 30) + 1e-12)
    agent.cache.store_mock(TokenRange(0, 48))
    agent.cache.store_mock(TokenRange(1000, 1032))
    tally = agent.cache.storage.tallies()["LocalCPUBackend"]
    assert sum(tally.eviction_age_s.counts) == 2
    assert 0 < tally.eviction_age_s.total < 60


def test_metrics__scheduler__tells_who_it_is(scheduler: TestClient) -> None:
    answer = scheduler.get("/metrics")
    assert answer.status_code == 200
    assert 'role="scheduler"' in answer.text
    assert "kvplane_stored_tokens" not in answer.text


def test_metrics__agent_with_a_token__needs_it(make_worker: MakeAgent) -> None:
    agent = make_worker(agent_token="secret")
    client = TestClient(create_app(agent), base_url="http://127.0.0.1:7000")
    assert client.get("/metrics").status_code == 401
    headers = {"Authorization": "Bearer secret"}
    assert client.get("/metrics", headers=headers).status_code == 200
    agent.workers.abandon()
