"""The cache engine: store, retrieve, look up, clear."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from engine.cache.results import Phase, RetrieveResult, StoreResult, TooManyTokens
from engine.cache.transfers import Transfers
from engine.config import ConfigError, EngineConfig
from engine.contract import SlotRun, TokenRange
from engine.device import PagedKVCache
from engine.device.configured import device_of, spec_of
from engine.device.kv_cache import KVCache
from engine.lookup import Prompt
from engine.metadata import EngineMetadata
from engine.storage import BackendUsage, ChunkLayout, Count, StorageManager
from engine.storage.building import build_storage
from engine.storage.preload import Preloaded, load_chunk_files
from engine.tokens import (
    TokenArray,
    Tokens,
    as_token_array,
    namespace,
)

_MOCK_REQUEST = "mock"


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
        self._transfers = Transfers(config, metadata, kv_cache, storage)
        self._layout = ChunkLayout(namespace(metadata), kv_cache.spec)
        self._chunk_size = metadata.chunk_size

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
        return self._transfers.store(tokens, runs, request_id, phase)

    def retrieve(self, tokens: Tokens, runs: Sequence[SlotRun], request_id: str) -> RetrieveResult:
        """Copy the KV of the longest stored prefix of `tokens` to the first slots of
        `runs`: whole chunks, and the last partial one if save_unfull_chunk. A
        prefix shorter than min_retrieve_tokens is left alone. Raises as store
        does.
        """
        return self._transfers.retrieve(tokens, runs, request_id)

    def store_chunks(
        self, hashes: Sequence[bytes], runs: Sequence[SlotRun], request_id: str
    ) -> StoreResult:
        """As store, for whole chunks whose hashes are known: the KV of chunk i lies at
        the i-th chunk_size slots of `runs`. Raises SlotCountMismatch and
        SlotOutOfBounds before anything moves."""
        return self._transfers.store_chunks(hashes, runs, request_id)

    def retrieve_chunks(
        self, hashes: Sequence[bytes], offset: int, runs: Sequence[SlotRun], request_id: str
    ) -> RetrieveResult:
        """Copy the KV of some tokens of whole chunks to the slots of `runs`: as many
        tokens as there are slots, from the one `offset` tokens after the start of the
        first chunk on. What is retrieved ends before the first chunk that is not
        stored. Raises SlotCountMismatch if the tokens reach beyond the chunks, and
        SlotOutOfBounds, before anything moves."""
        return self._transfers.retrieve_chunks(hashes, offset, runs, request_id)

    def lookup(self, tokens: Tokens) -> int:
        """How many leading tokens are stored in a tier that is read; changes nothing."""
        array = as_token_array(tokens)
        hits = self.storage.count_prefix(self._transfers.storable_keys(array))
        return min(hits * self._chunk_size, array.size)

    def count(self, prompt: Prompt) -> int:
        """How many leading chunks of the prompt are stored in a tier that is read. Those
        in memory stay there until the request retrieves them, is forgotten, or
        pin_timeout_sec have passed."""
        return self.storage.promise(prompt.request_id, self._transfers.as_keys(prompt.hashes))

    def load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        """As count, after chunks of slower tiers were brought into memory, as far as there
        is room and for as long as `go_on()`."""
        keys = self._transfers.as_keys(prompt.hashes)
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
        return self._transfers.slot_logging

    def enable_slot_logging(self) -> None:
        self._transfers.slot_logging = True

    def disable_slot_logging(self) -> None:
        self._transfers.slot_logging = False

    def usage(self) -> dict[str, BackendUsage]:
        """Memory and chunks by backend."""
        return self.storage.usage()

    def counters(self) -> dict[str, float]:
        """What was done since the start; the names never change."""
        evicted = self.storage.local_cpu.tally.snapshot().counts[Count.EVICTED_CHUNKS]
        return {**self._transfers.counters(), "evicted_chunks": int(evicted)}

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

    def _mock(self, tokens: TokenRange) -> tuple[TokenArray, list[SlotRun]]:
        num_tokens = tokens.end - tokens.start
        if num_tokens > self.kv_cache.num_slots:
            raise TooManyTokens(num_tokens, self.kv_cache.num_slots)
        return (
            np.arange(tokens.start, tokens.end, dtype=np.int64),
            [SlotRun(0, num_tokens - 1)],
        )


def _no_memory(error: Exception) -> ConfigError:
    reason = str(error).partition("\n")[0]
    return ConfigError(
        f"The memory for the paged KV cache cannot be had ({reason}); lower 'num_blocks'."
    )
