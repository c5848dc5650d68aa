"""Values as they travel in query strings: booleans, integers, names, token
ranges and slot mappings."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.contract.errors import InvalidParameter, MissingParameters

MAX_SLOTS = 10_000_000
"""Most slots that one slot mapping may name."""

# Eighteen digits fit a signed 64-bit integer; anything longer is no count, id or
# size that this contract knows, and turning it into a number costs the server.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SHOWN = 40


class SlotRun(NamedTuple):
    """Consecutive ascending slots, both ends included."""

    first: int
    last: int


class TokenRange(NamedTuple):
    """The mock tokens `start, start + 1, …, end - 1`."""

    start: int
    end: int


def shorten(text: str) -> str:
    """`text` as it is quoted in a message: never longer than a line."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def parse_bool(name: str, text: str) -> bool:
    """Read `true`, `false`, `1` or `0` in any case; raise InvalidParameter for
    anything else."""
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise InvalidParameter(
            name, f"'{name}' must be true, false, 1 or 0, not '{shorten(text)}'."
        ) from None


def parse_switch(name: str, text: str) -> bool:
    """Read `true` or `false` in any case, and nothing else; the documentation of
    some endpoints admits no digits. Raises InvalidParameter."""
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise InvalidParameter(name, f"'{name}' must be true or false, not '{shorten(text)}'.")
    return word == "true"


def parse_int(name: str, text: str, minimum: int | None = None, maximum: int | None = None) -> int:
    """Read a decimal integer within bounds; raise InvalidParameter otherwise."""
    stripped = text.strip()
    if not _INTEGER.fullmatch(stripped):
        raise InvalidParameter(
            name,
            f"'{name}' must be an integer of at most 18 digits, not '{shorten(text)}'.",
        )
    value = int(stripped)
    if minimum is not None and value < minimum:
        raise InvalidParameter(name, f"'{name}' must be at least {minimum}, not {value}.")
    if maximum is not None and value > maximum:
        raise InvalidParameter(name, f"'{name}' must be at most {maximum}, not {value}.")
    return value


def parse_names(text: str) -> list[str]:
    """Split `a, b` into its names: blanks trimmed, empty ones dropped."""
    return [name for part in text.split(",") if (name := part.strip())]


def parse_token_range(text: str) -> TokenRange:
    """Read `"start,end"`, the documented form of `tokens_mock`.

    Raises MissingParameters when blank, InvalidParameter unless
    0 <= start < end.
    """
    if not text.strip():
        raise MissingParameters("tokens_mock", "Must specify either tokens_input or tokens_mock")
    parts = text.split(",")
    if len(parts) != 2:
        raise InvalidParameter(
            "tokens_mock",
            f"'tokens_mock' must be 'start,end' (for example '0,100'), not '{shorten(text)}'.",
        )
    start = parse_int("tokens_mock", parts[0], minimum=0)
    end = parse_int("tokens_mock", parts[1], minimum=0)
    if start >= end:
        raise InvalidParameter(
            "tokens_mock", f"'tokens_mock': start ({start}) must be below end ({end})."
        )
    return TokenRange(start, end)


def parse_slot_mapping(text: str) -> list[SlotRun]:
    """Read `"1,2,3,[9,12],17,19"` into runs, in the order given.

    A number stands for itself, `[a,b]` for a to b with both ends. Duplicates
    are kept. Raises MissingParameters when blank and InvalidParameter, naming
    the offending part, for a reversed range, a negative or malformed number, or
    more than MAX_SLOTS slots. Whether a slot exists is for the owner of the
    cache to say.
    """
    if not text.strip():
        raise MissingParameters(
            "slot_mapping",
            "'slot_mapping' is required: slots and inclusive ranges, such as '0,1,[4,7]'.",
        )
    runs: list[SlotRun] = []
    total = 0
    for part in _slot_parts(text):
        run = _parse_slot_part(part)
        total += run.last - run.first + 1
        if total > MAX_SLOTS:
            raise InvalidParameter(
                "slot_mapping",
                f"'slot_mapping' names more than {MAX_SLOTS} slots, passing that at "
                f"'{shorten(part)}'; ask for fewer at a time.",
            )
        runs.append(run)
    return runs


def _slot_parts(text: str) -> Iterator[str]:
    """Split at the commas outside brackets."""
    pieces = iter(text.split(","))
    for piece in pieces:
        if "[" in piece and "]" not in piece:
            yield f"{piece},{next(pieces, '')}".strip()
        else:
            yield piece.strip()


def _parse_slot_part(part: str) -> SlotRun:
    if part.startswith("[") and part.endswith("]"):
        ends = part[1:-1].split(",")
        if len(ends) != 2:
            raise _bad_slot_part(part)
        first, last = (_parse_slot(end, part) for end in ends)
        if first > last:
            raise InvalidParameter(
                "slot_mapping",
                f"'slot_mapping': the range '{shorten(part)}' is reversed; write [{last},{first}].",
            )
        return SlotRun(first, last)
    slot = _parse_slot(part, part)
    return SlotRun(slot, slot)


def _parse_slot(text: str, part: str) -> int:
    stripped = text.strip()
    if not _INTEGER.fullmatch(stripped):
        raise _bad_slot_part(part)
    slot = int(stripped)
    if slot < 0:
        raise InvalidParameter(
            "slot_mapping", f"'slot_mapping': '{shorten(part)}' has a negative slot."
        )
    return slot


def _bad_slot_part(part: str) -> InvalidParameter:
    return InvalidParameter(
        "slot_mapping",
        f"'slot_mapping': '{shorten(part)}' is neither a slot number nor an inclusive range [a,b].",
    )


def count_slots(runs: Sequence[SlotRun]) -> int:
    """How many slots the runs name, duplicates counted each time."""
    return sum(run.last - run.first + 1 for run in runs)


def compress_slots(runs: Sequence[SlotRun]) -> list[int | list[int]]:
    """Write slots as the documented `slot_mapping_ranges`: a consecutive
    ascending run of three or more as `[first, last]`, other slots as bare
    numbers, in order."""
    compressed: list[int | list[int]] = []
    for run in join_runs(runs):
        if run.last - run.first >= 2:
            compressed.append([run.first, run.last])
        else:
            compressed.extend(range(run.first, run.last + 1))
    return compressed


def join_runs(runs: Sequence[SlotRun]) -> Iterator[SlotRun]:
    """The same slots in the same order, with runs that continue each other made one."""
    pending: SlotRun | None = None
    for run in runs:
        if pending is not None and run.first == pending.last + 1:
            pending = SlotRun(pending.first, run.last)
            continue
        if pending is not None:
            yield pending
        pending = run
    if pending is not None:
        yield pending
