"""Prompts that wait to be counted."""

import sys
from collections import deque

from engine.lookup.client import Prompt
from engine.lookup.messages import HASH_BYTES

_BYTES_A_CHUNK = sys.getsizeof(bytes(HASH_BYTES)) + 8
"""A hash and its place in a list."""


class PromptQueue:
    """First in, first out; bounded by prompts and by their chunks. Not thread-safe."""

    def __init__(self, max_prompts: int, max_chunks: int) -> None:
        self._max_prompts = max_prompts
        self._max_chunks = max_chunks
        self._prompts: deque[Prompt] = deque()
        self._chunks = 0

    def __len__(self) -> int:
        """Prompts that wait."""
        return len(self._prompts)

    @property
    def chunks(self) -> int:
        """Chunks that wait."""
        return self._chunks

    @property
    def is_half_full(self) -> bool:
        prompts, chunks = len(self._prompts), self._chunks
        return 2 * prompts >= self._max_prompts or 2 * chunks >= self._max_chunks

    @property
    def memory_bytes(self) -> int:
        """About as much memory is taken."""
        return self._chunks * _BYTES_A_CHUNK

    def put(self, prompt: Prompt) -> bool:
        """False if there is no room."""
        chunks = self._chunks + len(prompt.hashes)
        if len(self._prompts) >= self._max_prompts or chunks > self._max_chunks:
            return False
        self._prompts.append(prompt)
        self._chunks = chunks
        return True

    def take(self, chunks: int) -> list[Prompt]:
        """Remove prompts until they have `chunks` chunks or none is left."""
        taken: list[Prompt] = []
        wanted = self._chunks - chunks
        while self._prompts and self._chunks > wanted:
            prompt = self._prompts.popleft()
            self._chunks -= len(prompt.hashes)
            taken.append(prompt)
        return taken

    def clear(self) -> int:
        """Remove all; how many there were."""
        removed = len(self._prompts)
        self._prompts.clear()
        self._chunks = 0
        return removed
