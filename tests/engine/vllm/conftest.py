"""A tiny model, vLLM beside it, and what vLLM says without the connector."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import free_ports
from tests.support.tiny_llama import VOCABULARY, write_model
from tests.support.vllm_driver import Driver, Engine, Generated

BLOCK, CHUNK = 32, 64
Prompts = list[list[int]]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    directory = tmp_path_factory.mktemp("vllm")
    driver = Driver(directory, directory / "vllm.log")
    yield driver
    driver.close()


class Cached:
    """An engine with the connector, and the agents in it."""

    def __init__(self, engine: Engine, port: int) -> None:
        self.engine = engine
        self.scheduler = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        self.worker, self.second_worker = (
            httpx.Client(base_url=f"http://127.0.0.1:{port + number}", trust_env=False)
            for number in (1, 2)
        )

    def counters(self) -> dict[str, float]:
        return self.worker.get("/agent/status").json()["counters"]

    def chunks(self, backend: str = "LocalCPUBackend") -> int:
        return self.worker.get("/agent/status").json()["storage"][backend]["chunks"]

    def drop(self, *backends: str) -> None:
        """Remove what these backends have."""
        for backend in backends:
            self.worker.delete("/cache/clear", params={"locations": backend}).raise_for_status()

    def close(self) -> None:
        self.scheduler.close()
        self.worker.close()
        self.second_worker.close()


StartCached = Callable[..., AbstractContextManager[Cached]]


@pytest.fixture
def start(driver: Driver, model: Path) -> StartCached:
    """Starts an engine with the connector; keys are the agents', `options` vLLM's."""
    from contextlib import contextmanager

    @contextmanager
    def start(
        options: dict[str, Any] | None = None, model: Path = model, **keys: object
    ) -> Iterator[Cached]:
        port = free_ports(3)
        extra = {
            "internal_api_server_port_start": port,
            "chunk_size": CHUNK,
            "max_local_cpu_size": 0.1,
            **keys,
        }
        with driver.engine(model, extra, **(options or {})) as engine:
            cached = Cached(engine, port)
            try:
                yield cached
            finally:
                cached.close()

    return start


def tokens(seed: int, length: int) -> list[int]:
    """A prompt that no other seed shares a prefix with."""
    numbers = random.Random(seed)
    return [numbers.randrange(4, VOCABULARY) for _ in range(length)]


LENGTHS = [1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 191, 192, 193, 300]
"""Below, at and above borders of blocks and chunks."""
BORDERS: Prompts = [tokens(length, length) for length in LENGTHS]
SHARED: Prompts = [tokens(999, 160) + tokens(n, 40 + n) for n in range(8)]
"""Eight questions about one document."""


@pytest.fixture(scope="session")
def plain(driver: Driver, model: Path) -> dict[str, Generated]:
    """What vLLM generates without the connector."""
    with driver.engine(model, None) as engine:
        return {
            "borders": engine.generate(BORDERS),
            "shared": engine.generate(SHARED),
            "long": engine.generate(SHARED, max_tokens=150),
        }
