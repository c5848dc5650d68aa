"""Agents with small caches, and clients that speak to them without a socket."""

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.cache import CacheEngine
from engine.config import EngineConfig
from engine.metadata import scheduler_metadata, worker_metadata

NUM_SLOTS = 64
SMALL = {
    "num_layers": 2,
    "num_kv_heads": 2,
    "head_size": 8,
    "kv_dtype": "float32",
    "block_size": 4,
    "num_blocks": NUM_SLOTS // 4,
    "chunk_size": 16,
    "max_local_cpu_size": 0.001,
    "lmcache_instance_id": "small",
}

MakeAgent = Callable[..., Agent]


@pytest.fixture
def make_worker() -> MakeAgent:
    def make(**settings: object) -> Agent:
        config = EngineConfig.load(flags={**SMALL, **settings})
        metadata = worker_metadata(config, 0, "engine")
        cache = CacheEngine.build(config, metadata)
        cache.kv_cache.fill_random(seed=1)
        return Agent(config, metadata, cache)

    return make


@pytest.fixture
def make_scheduler() -> MakeAgent:
    def make(**settings: object) -> Agent:
        config = EngineConfig.load(flags={**SMALL, **settings})
        return Agent(config, scheduler_metadata(config, "engine"), cache=None)

    return make


@pytest.fixture
def agent(make_worker: MakeAgent) -> Agent:
    return make_worker()


@pytest.fixture
def client(agent: Agent) -> Iterator[TestClient]:
    yield TestClient(create_app(agent), base_url="http://127.0.0.1:7000")
    agent.workers.abandon()


@pytest.fixture
def scheduler(make_scheduler: MakeAgent) -> Iterator[TestClient]:
    agent = make_scheduler()
    yield TestClient(create_app(agent), base_url="http://127.0.0.1:6999")
    agent.workers.abandon()
