"""One request's chunks on their way out of the tiers."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

import torch

from engine.storage.backend import SlowBackend
from engine.storage.chunk import Reservation, StoredChunk
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.prefix import Memory, Prefix, find_prefix
from engine.storage.read_ahead import Buffer, ChunkUnreadable, ReadAhead
from engine.storage.tally import Count
from engine.tokens import ChunkKey

Copy = Callable[[int, torch.Tensor], None]


class Retrieval:
    """A retrieve in progress. Chunks that lie in memory are pinned at once, so that
    the others, which are read from slower tiers, do not push them out."""

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        readable: Sequence[LocalCPUBackend | SlowBackend],
        ahead: ReadAhead,
    ) -> None:
        self._local_cpu = local_cpu
        self._reads_memory = local_cpu in readable
        self._slow = [b for b in readable if not isinstance(b, LocalCPUBackend)]
        self._ahead = ahead
        self._pinned: dict[ChunkKey, StoredChunk] = {}
        self._held: list[StoredChunk] = []
        self._used: list[StoredChunk] = []

    def __enter__(self) -> "Retrieval":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._ahead.close()
        finally:
            self._local_cpu.touch(self._used)
            self._local_cpu.release(self._held)

    def run(self, keys: Sequence[ChunkKey], sizes: Sequence[int], minimum: int, copy: Copy) -> int:
        """Copy the chunks of the prefix in order; how many tokens that were."""
        if self._reads_memory:
            self._pinned = self._local_cpu.pin(keys)
            self._held.extend(self._pinned.values())
        prefix = find_prefix(keys, [key in self._pinned for key in keys], self._slow)
        self._count(prefix, sizes)
        if sum(sizes[: len(prefix.sources)]) < minimum:
            return 0
        self._ahead.plan(prefix.sources, keys, sizes)
        num_retrieved = 0
        for position, source in enumerate(prefix.sources):
            if isinstance(source, Memory):
                self._copy_stored(self._pinned[keys[position]], position, copy)
            else:
                try:
                    chunk = self._ahead.take(position)
                except ChunkUnreadable:
                    break
                self._copy_loaded(chunk, position, copy)
            num_retrieved += sizes[position]
        return num_retrieved

    def _copy_stored(self, stored: StoredChunk, position: int, copy: Copy) -> None:
        started = time.perf_counter()
        chunk = self._local_cpu.chunk(stored)
        copy(position, chunk)
        self._used.append(stored)
        self._local_cpu.tally.add(
            {
                Count.LOADED_CHUNKS: 1,
                Count.LOADED_BYTES: chunk.nbytes,
                Count.LOAD_SECONDS: time.perf_counter() - started,
            }
        )

    def _copy_loaded(self, loaded: Buffer | StoredChunk, position: int, copy: Copy) -> None:
        if isinstance(loaded, Reservation):
            admission = self._local_cpu.complete_store(loaded)
            if isinstance(admission, StoredChunk):
                loaded = admission
        if isinstance(loaded, StoredChunk):
            self._held.append(loaded)
            copy(position, self._local_cpu.chunk(loaded))
            self._used.append(loaded)
            return
        try:
            copy(position, loaded.chunk)
        finally:
            self._ahead.give_back(loaded)

    def _count(self, prefix: Prefix, sizes: Sequence[int]) -> None:
        """Note what each tier was asked for and what of the prefix it had."""
        asked = dict(prefix.asked)
        if self._reads_memory:
            asked[self._local_cpu.name] = list(range(len(sizes)))
        tallies = {backend.name: backend.tally for backend in self._slow}
        tallies[self._local_cpu.name] = self._local_cpu.tally
        for name, positions in asked.items():
            found = [
                position
                for position, source in enumerate(prefix.sources)
                if name == (self._local_cpu.name if isinstance(source, Memory) else source.name)
            ]
            tallies[name].add(
                {
                    Count.LOOKED_UP_CHUNKS: len(positions),
                    Count.LOOKED_UP_TOKENS: sum(sizes[position] for position in positions),
                    Count.FOUND_CHUNKS: len(found),
                    Count.FOUND_TOKENS: sum(sizes[position] for position in found),
                }
            )
