"""What scheduler and workers say to each other, as MessagePack arrays."""

from typing import Final

import msgspec

from engine.lookup.client import Prompt

HASH_BYTES: Final = 32
MAX_MESSAGE_BYTES: Final = 64 << 20
"""Two million chunks."""


class Question(msgspec.Struct, frozen=True, array_like=True):
    """How much of a prompt is cached? `number` ties the answer to it. `root` is the hash
    that chunk hashes begin with: it differs where model or chunk size differ.
    `hashes` are the chunk hashes one after the other, 32 bytes each."""

    number: int
    request_id: str
    root: bytes
    num_tokens: int
    chunk_size: int
    hashes: bytes

    def prompt(self) -> Prompt:
        """Raises ValueError if the hashes do not fit the tokens."""
        hashes = [
            self.hashes[start : start + HASH_BYTES]
            for start in range(0, len(self.hashes), HASH_BYTES)
        ]
        most = -(-self.num_tokens // self.chunk_size) if self.chunk_size > 0 else 0
        if len(self.hashes) % HASH_BYTES or not len(hashes) <= most:
            raise ValueError("The hashes do not fit the tokens.")
        return Prompt(self.request_id, self.num_tokens, self.chunk_size, hashes)


class Count(Question, frozen=True, tag="count"):
    """Answer at once."""


class Load(Question, frozen=True, tag="load"):
    """Bring chunks of slower tiers into memory for `patience_ms`, then answer."""

    patience_ms: float


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """What is kept for the request may go. There is no answer."""

    request_id: str


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """The first `num_chunks` chunks are cached."""

    number: int
    num_chunks: int


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="refusal"):
    """The worker caches for another model or in chunks of another size."""

    number: int
    reason: str


ToWorker = Count | Load | Forget
ToScheduler = Answer | Refusal

encode = msgspec.msgpack.Encoder().encode
_worker_decoder = msgspec.msgpack.Decoder(ToWorker)
_scheduler_decoder = msgspec.msgpack.Decoder(ToScheduler)


class Unreadable(ValueError):
    """The bytes are not a message."""


def decode_at_worker(message: bytes) -> ToWorker:
    """Raises Unreadable."""
    try:
        decoded: ToWorker = _worker_decoder.decode(message)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error
    return decoded


def decode_at_scheduler(message: bytes) -> ToScheduler:
    """Raises Unreadable."""
    try:
        decoded: ToScheduler = _scheduler_decoder.decode(message)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error
    return decoded
