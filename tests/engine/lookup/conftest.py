"""A scheduler and its workers in one process, with real sockets between them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.cache import CacheEngine
from engine.config import EngineConfig
from engine.contract import SlotRun, TokenRange
from engine.device.configured import spec_of
from engine.lookup.index import LocalWorkers
from engine.lookup.managing import LookupClients, LookupServers
from engine.lookup.statistics import ChunkStatistics, UniqueCounter, make_counter
from engine.metadata import scheduler_metadata, worker_metadata
from engine.storage import slot_stride

from .counting import GatedCounter, Make, Settings

CHUNK = 8
SHAPE: dict[str, object] = {
    "chunk_size": CHUNK,
    "num_layers": 2,
    "num_kv_heads": 1,
    "head_size": 8,
    "kv_dtype": "float32",
    "block_size": 4,
    "num_blocks": 64,
    "device": "cpu",
}


@dataclass
class Deployment:
    """One engine: its scheduler's clients, and each worker's engine and servers."""

    clients: LookupClients
    engines: list[CacheEngine]
    servers: list[LookupServers]
    configs: list[EngineConfig]
    """The scheduler's first, then each worker's."""

    def set(self, **changes: object) -> None:
        """Change the configuration of every process."""
        for config in self.configs:
            assert config.update(changes).errors == {}

    def serve(self) -> None:
        """Make every server, then the client."""
        for servers in self.servers:
            servers.create()
        self.clients.create()

    def store(self, start: int, end: int, *workers: int) -> None:
        """Store those tokens on those workers, or on all."""
        for worker in workers or range(len(self.engines)):
            self.engines[worker].store_mock(TokenRange(start, end))


Deploy = Callable[..., Deployment]


@pytest.fixture(autouse=True)
def own_runtime_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the sockets of this test lie."""
    directory = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory / "kvplane"


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    """Builds a deployment with room for `chunks` chunks a worker. With `are_local` the
    scheduler shares its process with the workers."""
    with ExitStack() as opened:

        def build(
            world_size: int = 2, chunks: int = 32, *, are_local: bool = False, **keys: object
        ) -> Deployment:
            shape = {
                **SHAPE,
                "world_size": world_size,
                "worker_ids": list(range(world_size)),
                **keys,
            }
            sized = EngineConfig.load(flags=shape)
            slot = slot_stride(sized.chunk_size * spec_of(sized).bytes_per_token)
            shape["max_local_cpu_size"] = (chunks + 0.5) * slot / (1 << 30)
            configs = [EngineConfig.load(flags=shape) for _ in range(1 + world_size)]
            local = LocalWorkers()
            engines, servers = [], []
            for worker_id, config in enumerate(configs[1:]):
                metadata = worker_metadata(config, worker_id, "engine")
                engine = CacheEngine.build(config, metadata)
                opened.callback(engine.close)
                engine.kv_cache.fill_random(seed=worker_id)
                engines.append(engine)
                served = LookupServers(config, metadata, engine)
                opened.callback(served.shut_down)
                servers.append(served)
                if are_local:
                    local.add(worker_id, engine)
            clients = LookupClients(configs[0], scheduler_metadata(configs[0], "engine"), local)
            opened.callback(clients.shut_down)
            return Deployment(clients, engines, servers, configs)

        yield build


def head(num_tokens: int) -> list[SlotRun]:
    """The first slots."""
    return [SlotRun(0, num_tokens - 1)]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes statistics that are started and, in the end, closed."""
    made: list[ChunkStatistics] = []

    def make_statistics(counter: UniqueCounter | None = None, **options: object) -> ChunkStatistics:
        options.setdefault("settings", Settings())
        chosen = counter or make_counter("memory_bloom_filter", capacity=100_000)
        statistics = ChunkStatistics(chosen, **options)  # type: ignore[arg-type]
        made.append(statistics)
        statistics.start()
        return statistics

    yield make_statistics
    for statistics in made:
        statistics.close()


@pytest.fixture
def gated() -> Iterator[GatedCounter]:
    counter = GatedCounter()
    yield counter
    counter.gate.set()
