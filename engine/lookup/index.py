"""What can say how much of a prompt is cached."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from engine.lookup.client import Prompt


class ChunkIndex(Protocol):
    """The chunks of one worker. Thread-safe. Nothing raises for a fault of a tier."""

    def count(self, prompt: Prompt) -> int:
        """Chunks of the longest cached prefix. Those in memory stay there for the
        request until it retrieves them, is forgotten, or takes too long."""

    def load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        """As count, after chunks of slower tiers were brought into memory for as long as
        `go_on()`."""

    def forget(self, request_id: str) -> None:
        """What is kept for the request may go."""


class LocalWorkers:
    """The workers of one engine that live in this process. Thread-safe."""

    def __init__(self) -> None:
        self._indexes: dict[int, ChunkIndex] = {}
        self._changing = threading.Lock()

    def add(self, worker_id: int, index: ChunkIndex) -> None:
        with self._changing:
            self._indexes[worker_id] = index

    def remove(self, worker_id: int, index: ChunkIndex) -> None:
        """That worker has ended, unless another one has taken its place."""
        with self._changing:
            if self._indexes.get(worker_id) is index:
                del self._indexes[worker_id]

    def lacks(self, worker_ids: Iterable[int]) -> list[int]:
        """Those of the workers that live elsewhere."""
        with self._changing:
            return [worker_id for worker_id in worker_ids if worker_id not in self._indexes]

    def of(self, worker_ids: Iterable[int]) -> Sequence[ChunkIndex]:
        """Raises KeyError for a worker that lives elsewhere."""
        with self._changing:
            return [self._indexes[worker_id] for worker_id in worker_ids]
