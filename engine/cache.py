"""The cache engine: store, retrieve, look up, clear."""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch

from engine.config import ConfigError, EngineConfig
from engine.contract import SlotRun, TokenRange, compress_slots, count_slots
from engine.device import PagedKVCache, split_runs
from engine.device.configured import device_of, spec_of
from engine.device.kv_cache import KVCache
from engine.lookup import Prompt
from engine.metadata import EngineMetadata
from engine.storage import BackendUsage, ChunkLayout, Count, Refusal, StorageManager
from engine.storage.building import build_storage
from engine.storage.preload import Preloaded, load_chunk_files
from engine.tokens import (
    ChunkKey,
    ChunkKeyMaker,
    TokenArray,
    Tokens,
    as_token_array,
    namespace,
)

logger = logging.getLogger(__name__)

_MOCK_REQUEST = "mock"


class Phase(StrEnum):
    """What the model was doing when it made the KV."""

    PREFILL = "prefill"
    DECODE = "decode"


class StoreResult(NamedTuple):
    """`num_tokens` were offered, `num_stored` are newly stored."""

    num_tokens: int
    num_stored: int


class RetrieveResult(NamedTuple):
    """`num_tokens` were asked for, the KV of the first `num_retrieved` is restored."""

    num_tokens: int
    num_retrieved: int


class TooManyTokens(ValueError):
    """More tokens than the paged KV cache has slots."""

    def __init__(self, num_tokens: int, num_slots: int) -> None:
        super().__init__(
            f"{num_tokens} tokens do not fit the KV cache, which has {num_slots} slots; "
            f"use at most {num_slots} tokens."
        )
        self.num_tokens = num_tokens
        self.num_slots = num_slots


class SlotCountMismatch(ValueError):
    """Not as many slots as tokens."""

    def __init__(self, num_tokens: int, num_slots: int) -> None:
        super().__init__(
            f"{num_tokens} tokens were given with {num_slots} slots; give one slot a token."
        )


class CacheEngine:
    """The KV cache of one worker: chunks go from the paged cache to storage and
    back.

    Thread-safe. No lock is held while bytes move, so a status call never waits
    for a store. Slots that a caller names are read and written without further
    coordination: they are the caller's while the call runs.
    """

    def __init__(
        self,
        config: EngineConfig,
        metadata: EngineMetadata,
        kv_cache: KVCache,
        storage: StorageManager,
    ) -> None:
        self.config = config
        self.metadata = metadata
        self.kv_cache = kv_cache
        self.storage = storage
        self._keys = ChunkKeyMaker(metadata)
        self._layout = ChunkLayout(namespace(metadata), kv_cache.spec)
        self._chunk_size = metadata.chunk_size
        self._slot_logging = False
        self._counters: dict[str, float] = dict.fromkeys(_COUNTERS, 0)
        self._counting = threading.Lock()

    @classmethod
    def build(cls, config: EngineConfig, metadata: EngineMetadata) -> Self:
        """A cache engine with a paged KV cache and storage of its own, as the
        configuration says. The cache is full of random numbers that depend on the
        worker, so that checksums tell something. Raises ConfigError naming the key."""
        try:
            kv_cache = PagedKVCache(spec_of(config), device_of(config))
        except (RuntimeError, MemoryError) as error:
            raise _no_memory(error) from error
        kv_cache.fill_random(seed=metadata.worker_id or 0)
        return cls.over(kv_cache, config, metadata)

    @classmethod
    def over(cls, kv_cache: KVCache, config: EngineConfig, metadata: EngineMetadata) -> Self:
        """A cache engine with storage as the configuration says, over a paged KV cache
        that is there. Raises ConfigError naming the key."""
        layout = ChunkLayout(namespace(metadata), kv_cache.spec)
        storage = build_storage(config, layout, kv_cache.device)
        return cls(config, metadata, kv_cache, storage)

    def store(
        self,
        tokens: Tokens,
        runs: Sequence[SlotRun],
        request_id: str,
        phase: Phase = Phase.PREFILL,
    ) -> StoreResult:
        """Copy the KV of `tokens`, which lies at the slots of `runs`, into storage.

        Stores whole chunks that are not stored yet, and a last partial chunk if
        save_unfull_chunk. Stops at the first chunk that is not admitted, because
        chunks after a gap cannot be retrieved. Raises InvalidTokens,
        SlotCountMismatch and SlotOutOfBounds before anything moves.
        """
        array = self._check(tokens, runs)
        started = time.perf_counter()
        num_stored = 0
        if phase is Phase.PREFILL or self.config.save_decode_cache:
            num_stored = self._store(array, runs)
        self._count(
            store_requests=1,
            offered_tokens=array.size,
            stored_tokens=num_stored,
            store_seconds=time.perf_counter() - started,
        )
        self._log_slots("store", request_id, array.size, runs)
        return StoreResult(array.size, num_stored)

    def retrieve(self, tokens: Tokens, runs: Sequence[SlotRun], request_id: str) -> RetrieveResult:
        """Copy the KV of the longest stored prefix of `tokens` to the first slots of
        `runs`: whole chunks, and the last partial one if save_unfull_chunk. A
        prefix shorter than min_retrieve_tokens is left alone. Raises as store
        does.
        """
        array = self._check(tokens, runs)
        started = time.perf_counter()
        try:
            num_retrieved = self._retrieve(array, runs)
        finally:
            self.storage.let_go(request_id)
        self._count(
            retrieve_requests=1,
            requested_tokens=array.size,
            retrieved_tokens=num_retrieved,
            retrieve_seconds=time.perf_counter() - started,
        )
        self._log_slots("retrieve", request_id, array.size, runs)
        return RetrieveResult(array.size, num_retrieved)

    def store_chunks(
        self, hashes: Sequence[bytes], runs: Sequence[SlotRun], request_id: str
    ) -> StoreResult:
        """As store, for whole chunks whose hashes are known: the KV of chunk i lies at
        the i-th chunk_size slots of `runs`. Raises SlotCountMismatch and
        SlotOutOfBounds before anything moves."""
        num_tokens = len(hashes) * self._chunk_size
        self._check_runs(num_tokens, runs)
        started = time.perf_counter()
        num_stored = self._store_keys(self._as_keys(hashes), runs)
        self._count(
            store_requests=1,
            offered_tokens=num_tokens,
            stored_tokens=num_stored,
            store_seconds=time.perf_counter() - started,
        )
        self._log_slots("store", request_id, num_tokens, runs)
        return StoreResult(num_tokens, num_stored)

    def retrieve_chunks(
        self, hashes: Sequence[bytes], offset: int, runs: Sequence[SlotRun], request_id: str
    ) -> RetrieveResult:
        """Copy the KV of some tokens of whole chunks to the slots of `runs`: as many
        tokens as there are slots, from the one `offset` tokens after the start of the
        first chunk on. What is retrieved ends before the first chunk that is not
        stored. Raises SlotCountMismatch if the tokens reach beyond the chunks, and
        SlotOutOfBounds, before anything moves."""
        num_tokens = count_slots(runs)
        if offset < 0 or offset + num_tokens > len(hashes) * self._chunk_size:
            raise SlotCountMismatch(len(hashes) * self._chunk_size - offset, num_tokens)
        self.kv_cache.check_slots(runs)
        started = time.perf_counter()
        passed, offset = divmod(offset, self._chunk_size)
        parts = _parts_after(offset, runs, self._chunk_size)

        def scatter(position: int, chunk: torch.Tensor) -> None:
            skipped = offset if position == 0 else 0
            wanted = chunk.narrow(-2, skipped, count_slots(parts[position]))
            self.kv_cache.scatter(wanted, parts[position])

        keys = self._as_keys(hashes[passed : passed + len(parts)])
        try:
            num_chunk_tokens = self.storage.retrieve(
                keys, [self._chunk_size] * len(keys), 0, scatter
            )
        finally:
            self.storage.let_go(request_id)
        num_retrieved = min(max(0, num_chunk_tokens - offset), num_tokens)
        self._count(
            retrieve_requests=1,
            requested_tokens=num_tokens,
            retrieved_tokens=num_retrieved,
            retrieve_seconds=time.perf_counter() - started,
        )
        self._log_slots("retrieve", request_id, num_tokens, runs)
        return RetrieveResult(num_tokens, num_retrieved)

    def lookup(self, tokens: Tokens) -> int:
        """How many leading tokens are stored in a tier that is read; changes nothing."""
        array = as_token_array(tokens)
        hits = self.storage.count_prefix(self._storable_keys(array))
        return min(hits * self._chunk_size, array.size)

    def count(self, prompt: Prompt) -> int:
        """How many leading chunks of the prompt are stored in a tier that is read. Those
        in memory stay there until the request retrieves them, is forgotten, or
        pin_timeout_sec have passed."""
        return self.storage.promise(prompt.request_id, self._as_keys(prompt.hashes))

    def load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        """As count, after chunks of slower tiers were brought into memory, as far as there
        is room and for as long as `go_on()`."""
        keys = self._as_keys(prompt.hashes)
        ends = [prompt.tokens_of(position + 1) for position in range(len(keys))]
        sizes = [end - position * prompt.chunk_size for position, end in enumerate(ends)]
        return self.storage.load_and_promise(prompt.request_id, keys, sizes, go_on)

    def forget(self, request_id: str) -> None:
        """The request will not retrieve what it was promised."""
        self.storage.let_go(request_id)

    def store_mock(self, tokens: TokenRange, request_id: str = _MOCK_REQUEST) -> StoreResult:
        """Store slots 0 … n-1 under the tokens start … end-1. Raises TooManyTokens."""
        array, runs = self._mock(tokens)
        return self.store(array, runs, request_id)

    def retrieve_mock(self, tokens: TokenRange, request_id: str = _MOCK_REQUEST) -> RetrieveResult:
        """Retrieve the tokens start … end-1 to slots 0 … n-1. Raises TooManyTokens."""
        array, runs = self._mock(tokens)
        return self.retrieve(array, runs, request_id)

    def clear(self, locations: Sequence[str] = ()) -> dict[str, int]:
        """Remove all chunks of the named backends, or, if none is named, of all that
        are not bypassed, frozen or not; chunks removed by backend. Raises
        UnknownBackend."""
        return self.storage.clear(locations)

    def bypass(self, backend: str) -> bool:
        """Leave that backend out of everything; whether it was before. Raises
        UnknownBackend."""
        return self.storage.bypass(backend)

    def stop_bypass(self, backend: str) -> bool:
        """Use that backend again; whether it was bypassed. Raises UnknownBackend."""
        return self.storage.stop_bypass(backend)

    @property
    def bypassed(self) -> list[str]:
        """Names of the bypassed backends."""
        return self.storage.bypassed

    def freeze(self) -> None:
        """From the return of this call on storage does not change: no admission, not
        even of a store in flight, no eviction, no reordering."""
        self.storage.freeze()

    def unfreeze(self) -> None:
        self.storage.unfreeze()

    @property
    def frozen(self) -> bool:
        return self.storage.frozen

    def enable_hot_cache(self) -> None:
        """Let LocalCPUBackend take chunks; it starts empty."""
        self.storage.local_cpu.enable_hot_cache()

    def disable_hot_cache(self) -> None:
        """Clear LocalCPUBackend and stop writing to it."""
        self.storage.local_cpu.disable_hot_cache()

    @property
    def hot_cache_enabled(self) -> bool:
        return self.storage.local_cpu.hot_cache_enabled

    @property
    def backends(self) -> tuple[str, ...]:
        """Names of the storage backends, in the order in which they are read."""
        return tuple(self.storage.backends)

    def checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> list[str]:
        """MD5 of the paged KV at the slots, a chunk at a time, layers combined.
        Raises SlotOutOfBounds."""
        return self.kv_cache.checksums(runs, chunk_size)

    def layerwise_checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> dict[str, list[str]]:
        """MD5 of the paged KV at the slots, a chunk at a time, by layer. Raises
        SlotOutOfBounds."""
        return self.kv_cache.layerwise_checksums(runs, chunk_size)

    def kvcache_info(self) -> dict[str, dict[str, object]]:
        """Shape, dtype and device of the paged KV cache's layers, by name."""
        return self.kv_cache.info()

    @property
    def slot_logging(self) -> bool:
        """Whether every store and retrieve logs its slots."""
        return self._slot_logging

    def enable_slot_logging(self) -> None:
        self._slot_logging = True

    def disable_slot_logging(self) -> None:
        self._slot_logging = False

    def usage(self) -> dict[str, BackendUsage]:
        """Memory and chunks by backend."""
        return self.storage.usage()

    def counters(self) -> dict[str, float]:
        """What was done since the start; the names never change."""
        with self._counting:
            counted = dict(self._counters)
        evicted = self.storage.local_cpu.tally.snapshot().counts[Count.EVICTED_CHUNKS]
        return {**counted, "evicted_chunks": int(evicted)}

    def load_chunk_files(
        self, root: Path, *, max_chunks: int, max_failed_keys: int, go_on: Callable[[], bool]
    ) -> Preloaded:
        """Fill the hot cache from the chunk files below `root`; see
        engine.storage.preload."""
        return load_chunk_files(
            self.storage.local_cpu,
            self._layout,
            root,
            max_chunks=max_chunks,
            max_failed_keys=max_failed_keys,
            go_on=go_on,
        )

    def close(self) -> None:
        """Drop the chunks in memory and take no more, finish what is being written to
        slower tiers, and let go of them; calls in flight end on their own."""
        self.storage.close()

    def _check(self, tokens: Tokens, runs: Sequence[SlotRun]) -> TokenArray:
        array = as_token_array(tokens)
        self._check_runs(array.size, runs)
        return array

    def _check_runs(self, num_tokens: int, runs: Sequence[SlotRun]) -> None:
        if count_slots(runs) != num_tokens:
            raise SlotCountMismatch(num_tokens, count_slots(runs))
        self.kv_cache.check_slots(runs)

    def _mock(self, tokens: TokenRange) -> tuple[TokenArray, list[SlotRun]]:
        num_tokens = tokens.end - tokens.start
        if num_tokens > self.kv_cache.num_slots:
            raise TooManyTokens(num_tokens, self.kv_cache.num_slots)
        return (
            np.arange(tokens.start, tokens.end, dtype=np.int64),
            [SlotRun(0, num_tokens - 1)],
        )

    def _as_keys(self, hashes: Sequence[bytes]) -> list[ChunkKey]:
        return [ChunkKey(self._layout.namespace, digest) for digest in hashes]

    def _storable_keys(self, tokens: TokenArray) -> list[ChunkKey]:
        if not self.config.save_unfull_chunk:
            tokens = tokens[: tokens.size - tokens.size % self._chunk_size]
        return self._keys.make(tokens)

    def _store(self, tokens: TokenArray, runs: Sequence[SlotRun]) -> int:
        return self._store_keys(self._storable_keys(tokens), runs)

    def _store_keys(self, keys: Sequence[ChunkKey], runs: Sequence[SlotRun]) -> int:
        parts = list(split_runs(runs, self._chunk_size))[: len(keys)]

        def gather(position: int, chunk: torch.Tensor) -> None:
            self.kv_cache.gather(parts[position], chunk)

        outcome = self.storage.store(keys, [count_slots(part) for part in parts], gather)
        if outcome.stopped is not None:
            self._count(**{f"stores_stopped_{outcome.stopped.value}": 1})
        return outcome.num_stored

    def _retrieve(self, tokens: TokenArray, runs: Sequence[SlotRun]) -> int:
        keys = self._storable_keys(tokens)
        parts = list(split_runs(runs, self._chunk_size))[: len(keys)]

        def scatter(position: int, chunk: torch.Tensor) -> None:
            self.kv_cache.scatter(chunk, parts[position])

        sizes = [count_slots(part) for part in parts]
        return self.storage.retrieve(keys, sizes, self.config.min_retrieve_tokens, scatter)

    def _count(self, **increments: float) -> None:
        with self._counting:
            for name, amount in increments.items():
                self._counters[name] += amount

    def _log_slots(
        self, direction: str, request_id: str, num_tokens: int, runs: Sequence[SlotRun]
    ) -> None:
        if not self._slot_logging:
            return
        line = {
            "event": "kvcache_slots",
            "request_id": request_id,
            "direction": direction,
            "num_tokens": num_tokens,
            "slots": compress_slots(runs),
        }
        logger.info(json.dumps(line))


def _parts_after(offset: int, runs: Sequence[SlotRun], chunk_size: int) -> list[list[SlotRun]]:
    """The slots of each chunk in turn, where the first chunk lacks its first `offset`."""
    if not runs or not offset:
        return list(split_runs(runs, chunk_size))
    # A run that stands for what is skipped makes the cut fall where chunks end.
    [_, *first], *others = split_runs([SlotRun(0, offset - 1), *runs], chunk_size)
    return [first, *others]


_COUNTERS = tuple(
    chain(
        ("store_requests", "offered_tokens", "stored_tokens", "store_seconds"),
        ("retrieve_requests", "requested_tokens", "retrieved_tokens", "retrieve_seconds"),
        (f"stores_stopped_{refusal.value}" for refusal in Refusal),
    )
)


def _no_memory(error: Exception) -> ConfigError:
    reason = str(error).partition("\n")[0]
    return ConfigError(
        f"The memory for the paged KV cache cannot be had ({reason}); lower 'num_blocks'."
    )
