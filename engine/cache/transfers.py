"""KV on its way between the slots of a paged cache and storage."""

import json
import logging
import threading
import time
from collections.abc import Sequence
from itertools import chain

import torch

from engine.cache.results import Phase, RetrieveResult, SlotCountMismatch, StoreResult
from engine.config import EngineConfig
from engine.contract import SlotRun, compress_slots, count_slots
from engine.device import split_runs
from engine.device.kv_cache import KVCache
from engine.metadata import EngineMetadata
from engine.storage import Refusal, StorageManager
from engine.tokens import (
    ChunkKey,
    ChunkKeyMaker,
    TokenArray,
    Tokens,
    as_token_array,
    namespace,
)

logger = logging.getLogger(__name__)


class Transfers:
    """Stores and retrieves, counts what that came to, and logs the slots where asked.
    Thread-safe."""

    def __init__(
        self,
        config: EngineConfig,
        metadata: EngineMetadata,
        kv_cache: KVCache,
        storage: StorageManager,
    ) -> None:
        self.slot_logging = False
        """Whether every store and retrieve logs its slots."""
        self._config = config
        self._kv_cache = kv_cache
        self._storage = storage
        self._keys = ChunkKeyMaker(metadata)
        self._namespace = namespace(metadata)
        self._chunk_size = metadata.chunk_size
        self._counters: dict[str, float] = dict.fromkeys(_COUNTERS, 0)
        self._counting = threading.Lock()

    def store(
        self,
        tokens: Tokens,
        runs: Sequence[SlotRun],
        request_id: str,
        phase: Phase = Phase.PREFILL,
    ) -> StoreResult:
        """See CacheEngine.store."""
        array = self._check(tokens, runs)
        started = time.perf_counter()
        num_stored = 0
        if phase is Phase.PREFILL or self._config.save_decode_cache:
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
        """See CacheEngine.retrieve."""
        array = self._check(tokens, runs)
        started = time.perf_counter()
        try:
            num_retrieved = self._retrieve(array, runs)
        finally:
            self._storage.let_go(request_id)
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
        """See CacheEngine.store_chunks."""
        num_tokens = len(hashes) * self._chunk_size
        self._check_runs(num_tokens, runs)
        started = time.perf_counter()
        num_stored = self._store_keys(self.as_keys(hashes), runs)
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
        """See CacheEngine.retrieve_chunks."""
        num_tokens = count_slots(runs)
        if offset < 0 or offset + num_tokens > len(hashes) * self._chunk_size:
            raise SlotCountMismatch(len(hashes) * self._chunk_size - offset, num_tokens)
        self._kv_cache.check_slots(runs)
        started = time.perf_counter()
        passed, offset = divmod(offset, self._chunk_size)
        parts = _parts_after(offset, runs, self._chunk_size)

        def scatter(position: int, chunk: torch.Tensor) -> None:
            skipped = offset if position == 0 else 0
            wanted = chunk.narrow(-2, skipped, count_slots(parts[position]))
            self._kv_cache.scatter(wanted, parts[position])

        keys = self.as_keys(hashes[passed : passed + len(parts)])
        try:
            num_chunk_tokens = self._storage.retrieve(
                keys, [self._chunk_size] * len(keys), 0, scatter
            )
        finally:
            self._storage.let_go(request_id)
        num_retrieved = min(max(0, num_chunk_tokens - offset), num_tokens)
        self._count(
            retrieve_requests=1,
            requested_tokens=num_tokens,
            retrieved_tokens=num_retrieved,
            retrieve_seconds=time.perf_counter() - started,
        )
        self._log_slots("retrieve", request_id, num_tokens, runs)
        return RetrieveResult(num_tokens, num_retrieved)

    def counters(self) -> dict[str, float]:
        """What was done since the start; the names never change."""
        with self._counting:
            return dict(self._counters)

    def as_keys(self, hashes: Sequence[bytes]) -> list[ChunkKey]:
        """The keys of this worker's chunks with those hashes."""
        return [ChunkKey(self._namespace, digest) for digest in hashes]

    def storable_keys(self, tokens: TokenArray) -> list[ChunkKey]:
        """The keys of the chunks of these tokens that are stored."""
        if not self._config.save_unfull_chunk:
            tokens = tokens[: tokens.size - tokens.size % self._chunk_size]
        return self._keys.make(tokens)

    def _check(self, tokens: Tokens, runs: Sequence[SlotRun]) -> TokenArray:
        array = as_token_array(tokens)
        self._check_runs(array.size, runs)
        return array

    def _check_runs(self, num_tokens: int, runs: Sequence[SlotRun]) -> None:
        if count_slots(runs) != num_tokens:
            raise SlotCountMismatch(num_tokens, count_slots(runs))
        self._kv_cache.check_slots(runs)

    def _store(self, tokens: TokenArray, runs: Sequence[SlotRun]) -> int:
        return self._store_keys(self.storable_keys(tokens), runs)

    def _store_keys(self, keys: Sequence[ChunkKey], runs: Sequence[SlotRun]) -> int:
        parts = list(split_runs(runs, self._chunk_size))[: len(keys)]

        def gather(position: int, chunk: torch.Tensor) -> None:
            self._kv_cache.gather(parts[position], chunk)

        outcome = self._storage.store(keys, [count_slots(part) for part in parts], gather)
        if outcome.stopped is not None:
            self._count(**{f"stores_stopped_{outcome.stopped.value}": 1})
        return outcome.num_stored

    def _retrieve(self, tokens: TokenArray, runs: Sequence[SlotRun]) -> int:
        keys = self.storable_keys(tokens)
        parts = list(split_runs(runs, self._chunk_size))[: len(keys)]

        def scatter(position: int, chunk: torch.Tensor) -> None:
            self._kv_cache.scatter(chunk, parts[position])

        sizes = [count_slots(part) for part in parts]
        return self._storage.retrieve(keys, sizes, self._config.min_retrieve_tokens, scatter)

    def _count(self, **increments: float) -> None:
        with self._counting:
            for name, amount in increments.items():
                self._counters[name] += amount

    def _log_slots(
        self, direction: str, request_id: str, num_tokens: int, runs: Sequence[SlotRun]
    ) -> None:
        if not self.slot_logging:
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
