"""All storage backends of one cache engine, and what concerns all of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Protocol

import torch

from engine.storage.backend import SlowBackend, TierState
from engine.storage.chunk import BackendUsage, Refusal
from engine.storage.holds import Holds
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.modes import Modes
from engine.storage.prefix import find_prefix
from engine.storage.promising import Promise
from engine.storage.read_ahead import ReadAhead
from engine.storage.retrieving import Retrieval
from engine.storage.staging import StagingArea
from engine.storage.storing import StoreOutcome, Storing
from engine.storage.tally import TallySnapshot
from engine.threads import start_all
from engine.tokens import ChunkKey

_LOADERS = 3
Copy = Callable[[int, torch.Tensor], None]
"""Copies the KV of the chunk with that position in the request to or from memory,
shaped as KVCacheSpec.chunk_shape says."""


class StorageSettings(Protocol):
    """The part of a configuration that is read at every call."""

    @property
    def retrieve_locations(self) -> list[str] | None: ...
    @property
    def store_location(self) -> str | None: ...
    @property
    def blocking_timeout_secs(self) -> float: ...
    @property
    def pin_timeout_sec(self) -> float: ...
    @property
    def pin_check_interval_sec(self) -> float: ...


class StorageManager:
    """The backends by name, in the order in which they are read: memory first, then
    the slower tiers. Thread-safe.
    """

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        staging: StagingArea,
        slow: Sequence[SlowBackend],
        settings: StorageSettings,
    ) -> None:
        """`slow` are the tiers below memory, fastest first; `staging` has room for at
        least one chunk if there are any."""
        self.local_cpu = local_cpu
        self.staging = staging
        self.slow = tuple(slow)
        backends: list[LocalCPUBackend | SlowBackend] = [local_cpu, *slow]
        self.backends = MappingProxyType({backend.name: backend for backend in backends})
        self.holds = Holds(
            local_cpu,
            most_chunks=local_cpu.most_chunks // 2,
            timeout_s=lambda: settings.pin_timeout_sec,
            interval_s=lambda: settings.pin_check_interval_sec,
        )
        self._settings = settings
        self._nowhere = StagingArea.without_memory(staging.spec)
        self._modes = Modes(local_cpu, self.slow, self.backends)
        # Apart for each tier: one that hangs must not keep another from answering.
        self._loaders = {
            backend.name: ThreadPoolExecutor(_LOADERS, f"load-{backend.name}") for backend in slow
        }
        for loaders in self._loaders.values():
            start_all(loaders, _LOADERS)

    @property
    def frozen(self) -> bool:
        return self._modes.frozen

    @property
    def bypassed(self) -> list[str]:
        """Names of the bypassed backends, in the order in which they are read."""
        return self._modes.bypassed

    def store(self, keys: Sequence[ChunkKey], sizes: Sequence[int], copy: Copy) -> StoreOutcome:
        """Store the chunks of one request, `sizes` tokens each, in every tier that
        takes them and lacks them. `copy` fills the memory of each chunk that is
        needed, in order, once for all tiers.

        Stops at the first chunk that no tier takes, because chunks after a gap
        cannot be retrieved. Raises what `copy` raises, with nothing left behind.
        """
        if self._modes.frozen:
            return StoreOutcome(0, Refusal.FROZEN)
        targets = [
            backend
            for backend in self.backends.values()
            if not self._modes.is_bypassed(backend.name)
            and self._settings.store_location in (None, backend.name)
        ]
        if not targets:
            return StoreOutcome(0, Refusal.BYPASSED)
        hand_over = partial(self._modes.hand_over, self._modes.epoch)
        with Storing(self.local_cpu, self.staging, targets, hand_over) as storing:
            return storing.run(keys, sizes, copy)

    def retrieve(
        self, keys: Sequence[ChunkKey], sizes: Sequence[int], minimum: int, copy: Copy
    ) -> int:
        """Hand the chunks of the longest stored prefix of `keys`, in order, to `copy`,
        and keep those from slower tiers in the hot cache; how many tokens that
        were. A prefix below `minimum` tokens is left alone. A chunk that cannot be
        read after all ends the prefix. Raises what `copy` raises."""
        readable = self._readable()
        ahead = ReadAhead(
            self.local_cpu,
            self.staging,
            self.local_cpu.prepare_store if self.local_cpu in readable else _keep_out,
            self._loaders,
            patience_s=self._settings.blocking_timeout_secs,
        )
        with Retrieval(self.local_cpu, readable, ahead) as retrieval:
            return retrieval.run(keys, sizes, minimum, copy)

    def count_prefix(self, keys: Sequence[ChunkKey]) -> int:
        """How many leading keys are stored in some tier that is read; one call a tier.
        Changes nothing."""
        readable = self._readable()
        present = [False] * len(keys)
        if self.local_cpu in readable:
            present = self.local_cpu.contains(keys)
        slow = [backend for backend in self.slow if backend in readable]
        return len(find_prefix(keys, present, slow).sources)

    def promise(self, request_id: str, keys: Sequence[ChunkKey]) -> int:
        """As count_prefix; the chunks in memory stay there until the request retrieves
        them, or until `let_go` or a timeout."""
        promise = Promise(self.local_cpu, self._readable(), keys)
        promise.keep(request_id, self.holds, promise.num_chunks)
        return promise.num_chunks

    def load_and_promise(
        self,
        request_id: str,
        keys: Sequence[ChunkKey],
        sizes: Sequence[int],
        go_on: Callable[[], bool],
    ) -> int:
        """As promise, but chunks of slower tiers are brought into memory first, while
        `go_on()` and as far as there is room. One that turns out to be unreadable
        ends the prefix."""
        readable = self._readable()
        promise = Promise(self.local_cpu, readable, keys)
        if self.local_cpu not in readable:
            return promise.num_chunks
        ahead = ReadAhead(
            self.local_cpu,
            self._nowhere,
            self.local_cpu.prepare_store,
            self._loaders,
            patience_s=0.0,
        )
        try:
            room = self.holds.room
            num_chunks = promise.load(sizes, ahead, lambda: promise.num_pinned < room and go_on())
            promise.keep(request_id, self.holds, num_chunks)
        finally:
            promise.drop()
        return num_chunks

    def let_go(self, request_id: str) -> None:
        """What was promised to the request may go."""
        self.holds.release(request_id)

    def freeze(self) -> None:
        """Freeze every backend; from the return of this call on none changes, except
        by an order to clear it. Waits for a write to a remote store that has begun,
        but no longer than its timeout."""
        self._modes.freeze()

    def unfreeze(self) -> None:
        self._modes.unfreeze()

    def bypass(self, name: str) -> bool:
        """Leave that backend out of everything; from the return of this call on it is
        not read and does not change. Whether it was bypassed before. Waits as freeze
        does. Raises UnknownBackend."""
        return self._modes.bypass(name)

    def stop_bypass(self, name: str) -> bool:
        """Use that backend again. Whether it was bypassed. Raises UnknownBackend."""
        return self._modes.stop_bypass(name)

    def clear(self, names: Sequence[str] = ()) -> dict[str, int]:
        """Remove all chunks of the named backends, or, if none is named, of all that
        are not bypassed, frozen or not; how many by backend. A store in flight is
        refused. Raises UnknownBackend before anything is removed."""
        return self._modes.clear(names)

    def usage(self) -> dict[str, BackendUsage]:
        return {name: backend.usage() for name, backend in self.backends.items()}

    def tallies(self) -> dict[str, TallySnapshot]:
        """What each backend did since the start."""
        return {name: backend.tally.snapshot() for name, backend in self.backends.items()}

    def tier_states(self) -> dict[str, TierState]:
        """How each tier below memory is doing."""
        return {backend.name: backend.state() for backend in self.slow}

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for each tier until nothing waits to be written;
        whether that was reached."""
        flushed = [backend.flush(timeout) for backend in self.slow]
        return all(flushed)

    def close(self) -> None:
        """Write what is queued, drop what is in memory and take no more; calls in
        flight end on their own."""
        for backend in self.slow:
            backend.close()
        self.holds.close()
        self.local_cpu.disable_hot_cache()

    def _readable(self) -> list[LocalCPUBackend | SlowBackend]:
        """Frozen, only memory is read: reading another tier would leave its mark."""
        wanted = self._settings.retrieve_locations
        there = [self.local_cpu] if self._modes.frozen else self.backends.values()
        return [
            backend
            for backend in there
            if not self._modes.is_bypassed(backend.name)
            and (wanted is None or backend.name in wanted)
        ]


def _keep_out(key: ChunkKey, num_tokens: int) -> Refusal:
    """Chunks on their way do not enter a hot cache that is not read."""
    return Refusal.BYPASSED
