"""Agents with small caches, and clients that speak to them without a socket."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.cache import CacheEngine
from engine.config import EngineConfig
from engine.lookup import LocalWorkers, LookupClients, LookupServers
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
def opened() -> Iterator[ExitStack]:
    """What is closed at the end of the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_worker(opened: ExitStack, tmp_path: Path) -> MakeAgent:
    """Each has a lookup server at an address of its own."""
    addresses = (f"ipc://{tmp_path}/lookup-{number}" for number in itertools.count())

    def make(**settings: object) -> Agent:
        flags = {**SMALL, "lookup_server_urls": [next(addresses)], **settings}
        config = EngineConfig.load(flags=flags)
        metadata = worker_metadata(config, 0, "engine")
        cache = CacheEngine.build(config, metadata)
        cache.kv_cache.fill_random(seed=1)
        servers = LookupServers(config, metadata, cache)
        servers.create()
        agent = Agent(config, metadata, cache, servers)
        opened.callback(agent.close)
        return agent

    return make


@pytest.fixture
def make_scheduler(opened: ExitStack, tmp_path: Path) -> MakeAgent:
    """Their lookups go to the first worker that is made, if one is."""

    def make(**settings: object) -> Agent:
        flags = {**SMALL, "lookup_server_urls": [f"ipc://{tmp_path}/lookup-0"], **settings}
        config = EngineConfig.load(flags=flags)
        metadata = scheduler_metadata(config, "engine")
        clients = LookupClients(config, metadata, LocalWorkers())
        clients.create()
        agent = Agent(config, metadata, None, clients)
        opened.callback(agent.close)
        return agent

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
