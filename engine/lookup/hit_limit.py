"""A lookup client that hides a part of the hits."""

from engine.lookup.client import LookupClient, Pending, Prompt


class HitLimitLookupClient:
    """Reports at most `ratio` of a prompt as cached, in whole chunks: the rest is
    computed again, as if it had been evicted. For experiments."""

    name = "HitLimitLookupClient"

    def __init__(self, inner: LookupClient, ratio: float) -> None:
        """`ratio` is between 0 and 1."""
        self._inner = inner
        self._ratio = ratio

    def lookup(self, prompt: Prompt) -> int | Pending:
        answer = self._inner.lookup(prompt)
        if isinstance(answer, Pending):
            return answer
        most = int(prompt.num_tokens * self._ratio)
        if answer <= most:
            return answer
        return most - most % prompt.chunk_size

    def forget(self, request_id: str) -> None:
        self._inner.forget(request_id)

    def describe(self) -> str:
        return f"{self.name}({self._inner.describe()})"

    def close(self) -> None:
        self._inner.close()
