"""What a lookup client is: the scheduler's side of "how much of this prompt is
cached?"."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol


class Pending(Enum):
    """The type of PENDING."""

    PENDING = "pending"


PENDING: Final = Pending.PENDING
"""It is not known yet; ask again with the same request id."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that is looked up: its chunk hashes (32 bytes each, see engine.tokens)
    in order, made once for all that the lookup passes through. Every chunk has
    `chunk_size` tokens but the last, which may have fewer."""

    request_id: str
    num_tokens: int
    chunk_size: int
    hashes: Sequence[bytes]

    def tokens_of(self, num_chunks: int) -> int:
        """How many tokens the first `num_chunks` chunks have."""
        return min(num_chunks * self.chunk_size, self.num_tokens)


class LookupClient(Protocol):
    """Thread-safe. No method raises for a worker that is gone, slow or wrong: that is
    0 tokens and a counter."""

    def lookup(self, prompt: Prompt) -> int | Pending:
        """How many leading tokens every worker has cached: whole chunks, or the whole
        prompt. Takes no longer than the lookup timeout."""

    def forget(self, request_id: str) -> None:
        """The request has ended or was given up: what was kept for it may go. No effect
        for a request that was not looked up."""

    def describe(self) -> str:
        """The chain of classes, outermost first, as `/lookup/info` shows it."""

    def close(self) -> None:
        """Let go of threads and sockets. Called once, with no lookup in progress."""
