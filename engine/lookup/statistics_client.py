"""Counting the chunks of prompts that are looked up."""

from engine.lookup.client import PENDING, LookupClient, Pending, Prompt
from engine.lookup.statistics import ChunkStatistics


class ChunkStatisticsLookupClient:
    """Hands the prompts of lookups that were answered to statistics, which count them
    later. The statistics belong to whoever made this: they outlive it."""

    name = "ChunkStatisticsLookupClient"

    def __init__(self, inner: LookupClient, statistics: ChunkStatistics) -> None:
        self._inner = inner
        self._statistics = statistics

    def lookup(self, prompt: Prompt) -> int | Pending:
        answer = self._inner.lookup(prompt)
        if answer is not PENDING:
            self._statistics.offer(prompt)
        return answer

    def forget(self, request_id: str) -> None:
        self._inner.forget(request_id)

    def describe(self) -> str:
        return f"{self.name}({self._inner.describe()})"

    def close(self) -> None:
        self._inner.close()
