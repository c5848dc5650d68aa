"""What the cache engine is asked with and answers with."""

from enum import StrEnum
from typing import NamedTuple


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
