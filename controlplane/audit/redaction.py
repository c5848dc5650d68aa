"""Taking secrets out of what is about to be stored."""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from controlplane.audit.secret_names import (
    LONGEST_KNOWN,
    Nature,
    is_made_of_numbers,
    nature_of,
    tells_numbers,
)
from controlplane.audit.secret_texts import REDACTED, redact_text

__all__ = ["REDACTED", "hide_named", "redact", "redact_named", "redact_text"]

_LEFT_OUT = "…"
_MAX_DEPTH = 50
# dict first: asking the abstract class takes longer than most values do.
_MAPPINGS = (dict, Mapping)
_LISTS = (list, tuple)
# As in {"name": "password", "value": "…"}.
_TELL_A_NAME = ("name", "key", "header", "parameter", "Name", "Key")
_TELL_A_VALUE = ("value", "Value")
_BLANKS = "\ufeff \t\r\n"
_MAY_BEGIN_JSON = frozenset('{["' + _BLANKS)
_DOCUMENT = re.compile(r"[\ufeff\s]*(?=[{\[])")
_DECODER = json.JSONDecoder()


def redact(value: object, depth: int = _MAX_DEPTH) -> object:
    """A copy of a JSON-ready value without secrets, fit for any database.

    Replaced by `***`: values under secret names at any depth, also in a string that
    holds JSON, in pairs of a name and a value, and in parameters of URLs; credentials
    inside URLs; and tokens of our own making wherever they stand. Characters and numbers
    that a JSON column cannot hold are replaced too, and what is nested deeper than
    `depth` is left out.
    """
    if isinstance(value, str):
        return _redact_json(value, depth) if value[:1] in _MAY_BEGIN_JSON else redact_text(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, _MAPPINGS):
        return _redact_mapping(value, depth - 1) if depth else _LEFT_OUT
    if isinstance(value, _LISTS):
        if not depth:
            return _LEFT_OUT
        return [
            _redact_pair(item, depth - 1) if isinstance(item, _LISTS) else redact(item, depth - 1)
            for item in value
        ]
    return value


def redact_named(name: str, value: object, depth: int = _MAX_DEPTH) -> object:
    """`value` redacted, knowing under which name it stands."""
    return _redact_as(nature_of(name), value, depth)


def hide_named(value: object, names: Collection[str]) -> object:
    """A copy of a JSON-ready value in which what stands under these names, at any depth,
    reads `***`."""
    if not names:
        return value
    if isinstance(value, _MAPPINGS):
        return {
            key: _hide(item) if key in names else hide_named(item, names)
            for key, item in value.items()
        }
    if isinstance(value, _LISTS):
        return [hide_named(item, names) for item in value]
    return value


def _redact_mapping(value: Mapping[object, object], depth: int) -> dict[str, object]:
    told: dict[str, object] = {}
    for key, item in value.items():
        name, nature = _name(str(key))
        plain = nature is Nature.PLAIN
        told[name] = redact(item, depth) if plain else _redact_as(nature, item, depth)
    for key in _TELL_A_VALUE:
        if key in value:
            told[key] = _redact_paired(value, value[key], depth)
    return told


def _redact_as(nature: Nature, value: object, depth: int) -> object:
    if nature is Nature.PLAIN:
        return redact(value, depth)
    if nature is Nature.COUNTS:
        return _only_numbers(value, depth)
    if nature is Nature.TOKENS and is_made_of_numbers(value):
        return redact(value, depth)
    return _hide(value)


def _redact_paired(pair: Mapping[object, object], value: object, depth: int) -> object:
    """The value, knowing what else of the mapping says which it is."""
    for key in _TELL_A_NAME:
        name = pair.get(key)
        if isinstance(name, str) and nature_of(name) is not Nature.PLAIN:
            return redact_named(name, value, depth)
    return redact(value, depth)


def _redact_pair(item: Sequence[object], depth: int) -> object:
    """A list in a list; it can be a header and its value."""
    if len(item) != 2 or not depth:
        return redact(item, depth)
    name, value = item
    if not isinstance(name, str):
        return redact(item, depth)
    return [redact(name, depth - 1), redact_named(name, value, depth - 1)]


def _name(name: str) -> tuple[str, Nature]:
    """The name as it is stored, and what stands under it."""
    # What callers make up must not fill the memory.
    return _known(name) if len(name) <= LONGEST_KNOWN else (redact_text(name), nature_of(name))


# The same few names come again and again with every entry.
@lru_cache(maxsize=4096)
def _known(name: str) -> tuple[str, Nature]:
    return redact_text(name), nature_of(name)


def _redact_json(text: str, depth: int) -> str:
    """A string that may hold JSON."""
    begin = text.lstrip(_BLANKS)[:1]
    if begin == '"':
        return _redact_quoted(text, depth)
    return _redact_documents(text, depth) if begin in ("{", "[") else redact_text(text)


def _redact_quoted(text: str, depth: int) -> str:
    """A string that holds nothing but a string in JSON, or begins with a quotation mark."""
    try:
        document = json.loads(text.strip(_BLANKS))
    except ValueError:
        return redact_text(text)
    if not depth:
        return _LEFT_OUT
    return json.dumps(redact(document, depth - 1), ensure_ascii=False)


def _redact_documents(text: str, depth: int) -> str:
    """A string that begins with JSON, one document or several; what follows is a text."""
    told: list[str] = []
    position = len(text) - len(text.lstrip(_BLANKS))
    while (blanks := _DOCUMENT.match(text, position)) is not None:
        if not depth:
            return _LEFT_OUT
        try:
            document, position = _DECODER.raw_decode(text, blanks.end())
        except RecursionError:
            return _LEFT_OUT
        except ValueError:
            break
        told += [blanks[0], json.dumps(redact(document, depth - 1), ensure_ascii=False)]
    return "".join([*told, redact_text(text[position:] if told else text)])


def _only_numbers(value: object, depth: int) -> object:
    """What stands under the name of a count, at any depth: `***` for texts of anything
    else."""
    if isinstance(value, str):
        return value if tells_numbers(value) else REDACTED
    if isinstance(value, _MAPPINGS):
        if not depth:
            return _LEFT_OUT
        return {_name(str(key))[0]: _only_numbers(item, depth - 1) for key, item in value.items()}
    if isinstance(value, _LISTS):
        return [_only_numbers(item, depth - 1) for item in value] if depth else _LEFT_OUT
    return redact(value, depth)


def _hide(value: object) -> object:
    # That a secret was set or cleared is worth knowing; what it was is not.
    return value if value in (None, "") else REDACTED
