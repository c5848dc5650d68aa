"""Finding the longest stored prefix over all tiers."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from engine.storage.backend import SlowBackend
from engine.tokens import ChunkKey


class Memory:
    """The source of a chunk that is in the hot cache."""


MEMORY: Final = Memory()
Source = SlowBackend | Memory


class Prefix(NamedTuple):
    """The longest stored prefix: for each of its chunks the tier that has it.
    `asked` says for which positions each slower tier was asked, by its name."""

    sources: list[Source]
    asked: dict[str, list[int]]


def find_prefix(
    keys: Sequence[ChunkKey], in_memory: Sequence[bool], slow: Sequence[SlowBackend]
) -> Prefix:
    """Where each chunk of the longest stored prefix of `keys` lies, fastest tier
    first. Asks each slower tier once, only for what those before it lack."""
    sources: dict[int, Source] = {
        position: MEMORY for position, is_there in enumerate(in_memory) if is_there
    }
    missing = [position for position in range(len(keys)) if position not in sources]
    asked: dict[str, list[int]] = {}
    for backend in slow:
        if not missing:
            break
        asked[backend.name] = missing
        found = backend.contains([keys[position] for position in missing])
        for position, is_there in zip(missing, found, strict=True):
            if is_there:
                sources[position] = backend
        missing = [position for position in missing if position not in sources]
    length = missing[0] if missing else len(keys)
    return Prefix([sources[position] for position in range(length)], asked)
