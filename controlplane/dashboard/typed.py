"""What stands in an input for a key of a configuration, and what a person meant by it."""

import json
import math
import re
from collections.abc import Mapping, Sequence

from engine.contract import ContractError, parse_json_object

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MOST_DIGITS = 40
_TRUTH = {"true": True, "false": False}
_TEXTS = frozenset({"list[str]", "str_list"})
_WHOLES = frozenset({"list[int]", "int_list"})
_LISTS = _TEXTS | _WHOLES
# What such an item means without quotation marks is anybody's guess.
_PLAIN_ITEM = re.compile(r'[^\s,"\'\[\]{}]([^,"\'\[\]{}]*[^\s,"\'\[\]{}])?')
_SHOWN = 40
_NO_SUCH = {
    "int": "is no whole number, such as 64",
    "float": "is no number, such as 0.5",
    "bool": "is neither true nor false",
}
_EXAMPLE_ITEMS = 2


def written(kind: str, value: object) -> str:
    """What stands in the input for a value: lists with commas, as far as they can be read
    so, what is no single value as JSON, and null as nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if kind in _LISTS and isinstance(value, list) and value:
        items = [item if isinstance(item, str) else json.dumps(item) for item in value]
        if all(map(_PLAIN_ITEM.fullmatch, items)):
            return ", ".join(items)
    return json.dumps(value, ensure_ascii=False)


def read_typed(kind: str, text: str) -> object:
    """What the text means as a value of the type. Raises ValueError with what is wrong."""
    match kind:
        case "str":
            return text
        case "bool" if text in _TRUTH:
            return _TRUTH[text]
        case "int" if _WHOLE.fullmatch(text.strip()):
            return int(text)
        case "float" if _is_number(text.strip()):
            return float(text)
        case "bool" | "int" | "float":
            raise ValueError(f"{_quoted(text)} {_NO_SUCH[kind]}")
    if kind in _LISTS and not text.lstrip().startswith("["):
        return _read_items(kind, text)
    return _read_json(kind, text)


def example_of(kind: str, choices: Sequence[str]) -> str:
    """How a value of the type may be typed; "" where that goes without saying."""
    if kind in _TEXTS:
        one, other = [*choices, "one", "another"][:_EXAMPLE_ITEMS]
        return f'{one}, {other} or ["{one}", "{other}"]'
    if kind in _WHOLES:
        return "0, 1 or [0, 1]"
    return '{"name": "value"}' if kind == "dict" else ""


def _is_number(text: str) -> bool:
    fits = len(text) <= _MOST_DIGITS and _NUMBER.fullmatch(text) is not None
    return fits and math.isfinite(float(text))


def _read_items(kind: str, text: str) -> list[object]:
    items = [item.strip() for item in text.split(",")]
    if not all(map(_PLAIN_ITEM.fullmatch, items)):
        raise ValueError(_no_list(kind, text))
    if kind in _TEXTS:
        return list(items)
    if not all(map(_WHOLE.fullmatch, items)):
        raise ValueError(_no_list(kind, text))
    return [int(item) for item in items]


def _read_json(kind: str, text: str) -> object:
    """As the body of a request is read, so that nothing passes that it would refuse."""
    try:
        read: Mapping[str, object] = parse_json_object(f'{{"value":{text}}}'.encode())
    except ContractError:
        read = {}
    if [*read] != ["value"]:
        raise ValueError(_no_list(kind, text) if kind in _LISTS else _no_json(kind, text))
    return read["value"]


def _no_list(kind: str, text: str) -> str:
    return f"{_quoted(text)} is no {kind}; write {example_of(kind, ())}"


def _no_json(kind: str, text: str) -> str:
    example = example_of(kind, ())
    return f"{_quoted(text)} is no JSON of type {kind}{example and f'; write {example}'}"


def _quoted(text: str) -> str:
    return f"'{text[:_SHOWN]}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}…'"
