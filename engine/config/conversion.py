"""From a value as it was written (JSON, YAML, environment, flag) to a key's type.

Strict on purpose: a value that would have to be rounded, cut or guessed is
refused, because the caller would never learn what it became.
"""

import json
import math
import re
from collections.abc import Callable, Mapping

from engine.config.errors import InvalidValueError
from engine.config.key import ConfigKey, ValueType

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_MAX_INTEGER = 10**18
_SHOWN = 40


def convert(key: ConfigKey, value: object) -> object:
    """`value` as the type of `key`, checked against its range, choices and check.

    Texts are read as the type asks ("128" for an int, "true" for a bool, "0,2"
    for a list[int], "a,b" for a list[str], a JSON object for a dict). Raises
    InvalidValueError saying why not, without the value where the key is secret.
    """
    if value is None:
        if key.optional:
            return None
        raise InvalidValueError("must not be null")
    converted = _CONVERTERS[key.type](key, value)
    _check_range(key, converted)
    _check_choices(key, converted)
    key.check(converted)
    return converted


def _show(key: ConfigKey, value: object) -> str:
    if key.secret:
        return "the value given"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _to_bool(key: ConfigKey, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str):
        word = str(value).strip().lower()
        if word in _BOOLEANS:
            return _BOOLEANS[word]
    raise InvalidValueError(f"must be true or false, not {_show(key, value)}")


def _to_int(key: ConfigKey, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_INTEGER:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    raise InvalidValueError(f"must be an integer of at most 18 digits, not {_show(key, value)}")


def _to_float(key: ConfigKey, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidValueError(f"must be a number, not {_show(key, value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise InvalidValueError(f"must be a number, not {_show(key, value)}") from None
    if not math.isfinite(number):
        raise InvalidValueError(f"must be a finite number, not {_show(key, value)}")
    return number


def _to_str(key: ConfigKey, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"must be text, not {_show(key, value)}")
    if not value.strip():
        raise InvalidValueError("must not be blank")
    return value


def _to_int_list(key: ConfigKey, value: object) -> list[int]:
    if isinstance(value, str):
        items = value.strip().removeprefix("[").removesuffix("]").strip()
        value = items.split(",") if items else []
    if not isinstance(value, list | tuple):
        raise InvalidValueError(f"must be a list of integers, not {_show(key, value)}")
    return [_to_int(key, item) for item in value]


def _to_str_list(key: ConfigKey, value: object) -> list[str]:
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",")]
    if not isinstance(value, list | tuple):
        raise InvalidValueError(f"must be a list of texts, not {_show(key, value)}")
    return [_to_str(key, item) for item in value]


def _to_dict(key: ConfigKey, value: object) -> dict[str, object]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidValueError("must be a JSON object") from None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidValueError(f"must be an object with text keys, not {_show(key, value)}")
    converted = dict(value)
    try:
        json.dumps(converted, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidValueError("must hold only what JSON can write") from None
    return converted


_CONVERTERS: dict[ValueType, Callable[[ConfigKey, object], object]] = {
    ValueType.BOOL: _to_bool,
    ValueType.INT: _to_int,
    ValueType.FLOAT: _to_float,
    ValueType.STR: _to_str,
    ValueType.INT_LIST: _to_int_list,
    ValueType.STR_LIST: _to_str_list,
    ValueType.DICT: _to_dict,
}


def _check_choices(key: ConfigKey, converted: object) -> None:
    for item in converted if isinstance(converted, list) else [converted]:
        if key.choices is not None and item not in key.choices:
            raise InvalidValueError(
                f"must be one of {', '.join(key.choices)}, not {_show(key, item)}"
            )


def _check_range(key: ConfigKey, converted: object) -> None:
    for number in converted if isinstance(converted, list) else [converted]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if key.minimum is not None and number < key.minimum:
            raise InvalidValueError(f"must be at least {key.minimum}, not {number}")
        if key.maximum is not None and number > key.maximum:
            raise InvalidValueError(f"must be at most {key.maximum}, not {number}")
