"""The cache engine of a vLLM worker."""

from typing import Final

import torch

from engine.cache import CacheEngine, RetrieveResult, StoreResult
from engine.contract import TokenRange
from engine.tokens import chunk_hashes, root_hash

MOCK_SALT: Final = "mock"
"""Mock tokens have chunk keys of their own: a prompt must never find what is stored
under them."""


class VllmCacheEngine(CacheEngine):
    """Stores what vLLM's slots hold, but never writes to them at an operator's order:
    they belong to running requests, or to vLLM's prefix cache."""

    def store_mock(self, tokens: TokenRange, request_id: str = MOCK_SALT) -> StoreResult:
        """Store slots 0 … n-1, whatever they hold, under the mock tokens start … end-1;
        whole chunks. Raises TooManyTokens."""
        array, runs = self._mock(tokens)
        whole = array.size - array.size % self._chunk_size
        root = root_hash(self.metadata.model_name, self._chunk_size, MOCK_SALT)
        hashes = chunk_hashes(root, array[:whole], self._chunk_size)
        if not hashes:
            return StoreResult(array.size, 0)
        [run] = runs
        stored = self.store_chunks(hashes, [run._replace(last=whole - 1)], request_id)
        return StoreResult(array.size, stored.num_stored)

    def retrieve_mock(self, tokens: TokenRange, request_id: str = MOCK_SALT) -> RetrieveResult:
        """Retrieve the mock tokens start … end-1 to memory of their own on the device,
        which is then dropped. Raises TooManyTokens."""
        array, _ = self._mock(tokens)
        whole = array.size - array.size % self._chunk_size
        root = root_hash(self.metadata.model_name, self._chunk_size, MOCK_SALT)
        keys = self._transfers.as_keys(chunk_hashes(root, array[:whole], self._chunk_size))
        device = self.kv_cache.device

        def copy(position: int, chunk: torch.Tensor) -> None:
            torch.empty_like(chunk, device=device).copy_(chunk)

        sizes = [self._chunk_size] * len(keys)
        retrieved = self.storage.retrieve(keys, sizes, 0, copy)
        return RetrieveResult(array.size, retrieved)
