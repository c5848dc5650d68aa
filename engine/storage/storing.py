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


class _Chunk(NamedTuple):
    """One chunk of the request; `fill` copies its KV to memory."""

    key: ChunkKey
    num_tokens: int
    fill: Callable[[torch.Tensor], None]


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
        chunks = [
            _Chunk(key, size, partial(copy, position))
            for position, (key, size) in enumerate(zip(keys, sizes, strict=True))
        ]
        if not self._uses_memory:
            return self._store_past_memory(chunks)
        num_stored = 0
        for position, chunk in enumerate(chunks):
            stored = self._store_in_memory(chunk)
            if stored is Refusal.FULL and self._slow:
                # All memory is in use, by this request above all.
                rest = self._store_past_memory(chunks[position:])
                return StoreOutcome(num_stored + rest.num_stored, rest.stopped)
            if isinstance(stored, Refusal):
                return StoreOutcome(num_stored, stored)
            num_stored += stored
        return StoreOutcome(num_stored, None)

    def _store_in_memory(self, chunk: _Chunk) -> int | Refusal:
        """Store a chunk in the hot cache and offer it to the slower tiers, which learn of
        it whether they have it or not. How many tokens are newly stored, or why the
        hot cache does not take it."""
        admission = self._local_cpu.prepare_store(chunk.key, chunk.num_tokens)
        if isinstance(admission, StoredChunk):
            self._keep(admission)
            return 0
        if isinstance(admission, Reservation):
            return self._admit(admission, chunk.fill)
        return admission

    def _store_past_memory(self, chunks: Sequence[_Chunk]) -> StoreOutcome:
        """Store the chunks in the slower tiers that lack them."""
        num_stored = 0
        for chunk, lacking in zip(chunks, self._lacking(chunks), strict=True):
            if not lacking:
                continue
            if not self._stage(chunk, lacking):
                return StoreOutcome(num_stored, Refusal.DROPPED)
            num_stored += chunk.num_tokens
        return StoreOutcome(num_stored, None)

    def _lacking(self, chunks: Sequence[_Chunk]) -> list[list[SlowBackend]]:
        """For each chunk the slower tiers that lack it."""
        lacking: list[list[SlowBackend]] = [[] for _ in chunks]
        keys = [chunk.key for chunk in chunks]
        for backend in self._slow:
            for without, is_there in zip(lacking, backend.contains(keys), strict=True):
                if not is_there:
                    without.append(backend)
        return lacking

    def _admit(
        self, reservation: Reservation, fill: Callable[[torch.Tensor], None]
    ) -> int | Refusal:
        started = time.perf_counter()
        try:
            fill(reservation.chunk)
            admission = self._local_cpu.complete_store(reservation)
        finally:
            self._local_cpu.abort_store(reservation)
        if isinstance(admission, Refusal):
            return admission
        self._keep(admission)
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

    def _keep(self, stored: StoredChunk) -> None:
        """Hold the chunk until the end of the request, and offer it to slower tiers."""
        self._held.append(stored)
        payload = payload_of(self._local_cpu.chunk(stored)).toreadonly()
        for backend in self._slow:
            self._local_cpu.pin_again(stored)
            lease = Lease(
                stored.key,
                stored.num_tokens,
                payload,
                partial(self._local_cpu.release, [stored]),
            )
            self._hand_over(backend, lease)

    def _stage(self, chunk: _Chunk, lacking: Sequence[SlowBackend]) -> bool:
        """Whether one of those tiers takes the chunk."""
        try:
            staged = self._staging.take(chunk.key, chunk.num_tokens)
        except NoStagingMemory:
            for backend in lacking:
                backend.tally.dropped(Drop.QUEUE_FULL)
            return False
        try:
            chunk.fill(staged.chunk)
            taken = [self._offer_staged(backend, staged) for backend in lacking]
        finally:
            self._staging.release(staged)
        return any(taken)

    def _offer_staged(self, backend: SlowBackend, staged: StagedChunk) -> bool:
        self._staging.retain(staged)
        lease = Lease(
            staged.key,
            staged.num_tokens,
            payload_of(staged.chunk).toreadonly(),
            partial(self._staging.release, staged),
        )
        return self._hand_over(backend, lease)
