"""One request's chunks on their way into the tiers."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple

import torch

from engine.storage.backend import Lease, SlowBackend
from engine.storage.chunk import Refusal, Reservation, StoredChunk
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.payload import payload_of
from engine.storage.staging import NoStagingMemory, StagedChunk, StagingArea
from engine.storage.tally import Count, Drop
from engine.tokens import ChunkKey

Copy = Callable[[int, torch.Tensor], None]
HandOver = Callable[[SlowBackend, Lease], bool]


class StoreOutcome(NamedTuple):
    """`num_stored` tokens are newly stored in at least one tier. `stopped` says why
    the store ended before the last chunk."""

    num_stored: int
    stopped: Refusal | None


class Storing:
    """A store in progress: pins what it stored until its end, so that a request
    longer than memory keeps its beginning instead of evicting it."""

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        staging: StagingArea,
        targets: Sequence[LocalCPUBackend | SlowBackend],
        hand_over: HandOver,
    ) -> None:
        """`hand_over` gives a lease to a tier and says whether it was taken; the lease
        is not the caller's any more."""
        self._local_cpu = local_cpu
        self._staging = staging
        self._hand_over = hand_over
        self._slow = [b for b in targets if not isinstance(b, LocalCPUBackend)]
        self._uses_memory = local_cpu in targets and not local_cpu.closed_by
        self._held: list[StoredChunk] = []

    def __enter__(self) -> "Storing":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._local_cpu.touch(self._held)
        self._local_cpu.release(self._held)

    def run(self, keys: Sequence[ChunkKey], sizes: Sequence[int], copy: Copy) -> StoreOutcome:
        """Store the chunks in order."""
        lacking = self._lacking(keys)
        num_stored = 0
        for position, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            fill = partial(copy, position)
            stored = self._store_one(key, size, lacking[position], fill)
            if isinstance(stored, Refusal):
                return StoreOutcome(num_stored, stored)
            num_stored += stored
        return StoreOutcome(num_stored, None)

    def _lacking(self, keys: Sequence[ChunkKey]) -> list[list[SlowBackend]]:
        """For each key the slower tiers that lack it, as far as it matters: with the
        hot cache in use they learn of each chunk anyway."""
        if self._uses_memory:
            return [self._slow] * len(keys)
        lacking: list[list[SlowBackend]] = [[] for _ in keys]
        for backend in self._slow:
            for without, is_there in zip(lacking, backend.contains(keys), strict=True):
                if not is_there:
                    without.append(backend)
        return lacking

    def _store_one(
        self,
        key: ChunkKey,
        size: int,
        lacking: Sequence[SlowBackend],
        fill: Callable[[torch.Tensor], None],
    ) -> int | Refusal:
        """How many tokens are newly stored, or why no tier took the chunk."""
        if self._uses_memory:
            admission = self._local_cpu.prepare_store(key, size)
            if isinstance(admission, StoredChunk):
                self._keep(admission, lacking)
                return 0
            if isinstance(admission, Reservation):
                return self._admit(admission, lacking, fill)
            if admission is not Refusal.FULL or not lacking:
                return admission
            # All memory is in use, by this request above all: the rest of it goes
            # past the hot cache.
            self._uses_memory = False
        return self._stage(key, size, lacking, fill) if lacking else 0

    def _admit(
        self,
        reservation: Reservation,
        lacking: Sequence[SlowBackend],
        fill: Callable[[torch.Tensor], None],
    ) -> int | Refusal:
        started = time.perf_counter()
        try:
            fill(reservation.chunk)
            admission = self._local_cpu.complete_store(reservation)
        finally:
            self._local_cpu.abort_store(reservation)
        if isinstance(admission, Refusal):
            return admission
        self._keep(admission, lacking)
        if admission.slot != reservation.slot:
            return 0
        self._local_cpu.tally.add(
            {
                Count.STORED_CHUNKS: 1,
                Count.STORED_BYTES: reservation.chunk.nbytes,
                Count.STORE_SECONDS: time.perf_counter() - started,
            }
        )
        return reservation.num_tokens

    def _keep(self, stored: StoredChunk, lacking: Sequence[SlowBackend]) -> None:
        """Hold the chunk until the end of the request, and offer it to slower tiers."""
        self._held.append(stored)
        payload = payload_of(self._local_cpu.chunk(stored)).toreadonly()
        for backend in lacking:
            self._local_cpu.pin_again(stored)
            lease = Lease(
                stored.key,
                stored.num_tokens,
                payload,
                partial(self._local_cpu.release, [stored]),
            )
            self._hand_over(backend, lease)

    def _stage(
        self,
        key: ChunkKey,
        size: int,
        lacking: Sequence[SlowBackend],
        fill: Callable[[torch.Tensor], None],
    ) -> int | Refusal:
        try:
            staged = self._staging.take(key, size)
        except NoStagingMemory:
            for backend in lacking:
                backend.tally.dropped(Drop.QUEUE_FULL)
            return Refusal.DROPPED
        try:
            fill(staged.chunk)
            taken = [self._offer_staged(backend, staged) for backend in lacking]
        finally:
            self._staging.release(staged)
        return size if any(taken) else Refusal.DROPPED

    def _offer_staged(self, backend: SlowBackend, staged: StagedChunk) -> bool:
        self._staging.retain(staged)
        lease = Lease(
            staged.key,
            staged.num_tokens,
            payload_of(staged.chunk).toreadonly(),
            partial(self._staging.release, staged),
        )
        return self._hand_over(backend, lease)
