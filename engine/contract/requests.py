"""Reading a request by the catalogue: query string and JSON body, strictly."""

import json
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from engine.contract.endpoint import Endpoint, Kind, Parameter, Values
from engine.contract.errors import (
    BodyTooLarge,
    ContractError,
    InvalidBody,
    InvalidParameter,
    MissingParameters,
)
from engine.contract.values import (
    parse_bool,
    parse_int,
    parse_names,
    parse_slot_mapping,
    parse_switch,
    parse_token_range,
    shorten,
)

MAX_BODY_BYTES = 1 << 20
"""Longest request body, in bytes."""
MAX_BODY_KEYS = 1_000
"""Most keys that a request body may have; each is answered for."""
_MAX_QUERY_FIELDS = 1_000
_MAX_DIGITS = 40
_MAX_DEPTH = 50

Query = dict[str, list[str]]

# A blank flag or number is a mistake; a blank name or mapping names nothing.
_BLANK_IS_ABSENT = {Kind.STRING, Kind.NAMES, Kind.TOKEN_RANGE, Kind.SLOT_MAPPING}


def parse_query(raw: bytes) -> Query:
    """Split a raw query string; every value of a repeated name is kept.

    Raises ContractError (400) for bytes that are not UTF-8 once unescaped, and
    for more fields than any call of the contract needs.
    """
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_QUERY_FIELDS,
        )
    except UnicodeDecodeError:
        raise ContractError(
            400, "Invalid query string", "The query string is not valid UTF-8; escape it as UTF-8."
        ) from None
    except ValueError:
        raise ContractError(
            400,
            "Invalid query string",
            f"The query string has more than {_MAX_QUERY_FIELDS} fields; send fewer.",
        ) from None
    query: Query = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


def read_parameters(endpoint: Endpoint, query: Mapping[str, Sequence[str]]) -> Values:
    """The endpoint's parameters, typed. Unknown names are ignored and of a
    repeated scalar the last one wins. Raises InvalidParameter."""
    values: Values = {}
    for parameter in endpoint.parameters:
        given = list(query.get(parameter.name, ()))
        if parameter.kind is not Kind.STRINGS:
            given = given[-1:]
        if parameter.kind in _BLANK_IS_ABSENT:
            given = [text for text in given if text.strip()]
        if not given and parameter.default is not None:
            given = [parameter.default]
        if not given:
            if parameter.required:
                raise _missing(parameter)
            continue
        values[parameter.name] = _READERS[parameter.kind](parameter, given)
    return values


def _missing(parameter: Parameter) -> InvalidParameter:
    if parameter.kind is Kind.TOKEN_RANGE:
        return MissingParameters(parameter.name, "Must specify either tokens_input or tokens_mock")
    return MissingParameters(
        parameter.name,
        f"'{parameter.name}' is required, for example {parameter.name}={parameter.example}.",
    )


def _read_strings(parameter: Parameter, given: list[str]) -> list[str]:
    # A blank item would silently mean "all", which is the one thing that a
    # caller who named something did not ask for.
    if not all(text.strip() for text in given):
        raise InvalidParameter(
            parameter.name,
            f"'{parameter.name}' has a blank value; leave the parameter out to name none.",
        )
    return [text.strip() for text in given]


_READERS: dict[Kind, Callable[[Parameter, list[str]], object]] = {
    Kind.STRING: lambda parameter, given: given[0],
    Kind.INTEGER: lambda parameter, given: parse_int(
        parameter.name, given[0], parameter.minimum, parameter.maximum
    ),
    Kind.BOOLEAN: lambda parameter, given: parse_bool(parameter.name, given[0]),
    Kind.SWITCH: lambda parameter, given: parse_switch(parameter.name, given[0]),
    Kind.NAMES: lambda parameter, given: parse_names(given[0]),
    Kind.STRINGS: _read_strings,
    Kind.TOKEN_RANGE: lambda parameter, given: parse_token_range(given[0]),
    Kind.SLOT_MAPPING: lambda parameter, given: parse_slot_mapping(given[0]),
}


def parse_json_object(raw: bytes) -> dict[str, object]:
    """Read a request body that must be one JSON object.

    Stricter than RFC 8259 allows, so that every reader sees the same document:
    UTF-8 only, no duplicate keys, no `NaN` or `Infinity`, no number of more
    than 40 characters, no deeper nesting than 50, no more keys than
    MAX_BODY_KEYS. Raises InvalidBody, and BodyTooLarge above MAX_BODY_BYTES.
    """
    if len(raw) > MAX_BODY_BYTES:
        raise BodyTooLarge(len(raw), MAX_BODY_BYTES)
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_read_integer,
            parse_float=_read_float,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise InvalidBody("The body is not valid UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidBody(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(document, dict):
        raise InvalidBody('The body must be a JSON object, such as {"min_retrieve_tokens": 512}.')
    if len(document) > MAX_BODY_KEYS:
        raise InvalidBody(
            f"The body has {len(document)} keys; at most {MAX_BODY_KEYS} are taken. Send fewer."
        )
    _check_tree(document, _MAX_DEPTH)
    return document


def _too_deep() -> InvalidBody:
    return InvalidBody(f"The body is nested deeper than {_MAX_DEPTH} levels.")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidBody(f"The key '{shorten(key)}' stands twice in one object.")
            seen.add(key)
    return document


def _read_integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise InvalidBody(f"The number '{shorten(text)}' has more than {_MAX_DIGITS} characters.")
    return int(text)


def _read_float(text: str) -> float:
    if len(text) > _MAX_DIGITS:
        raise InvalidBody(f"The number '{shorten(text)}' has more than {_MAX_DIGITS} characters.")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidBody(f"The number '{shorten(text)}' is out of range.")
    return value


def _refuse_constant(text: str) -> object:
    raise InvalidBody(f"'{text}' is not JSON; send a number or null.")


def _check_tree(node: object, depth: int) -> None:
    """Refuse deep nesting, and lone surrogates, which no UTF-8 can carry."""
    if isinstance(node, str):
        if any("\ud800" <= character <= "\udfff" for character in node):
            raise InvalidBody("A string has an unpaired surrogate escape; send valid Unicode.")
        return
    if not isinstance(node, dict | list):
        return
    if depth == 0:
        raise _too_deep()
    children = [*node.keys(), *node.values()] if isinstance(node, dict) else node
    for child in children:
        _check_tree(child, depth - 1)
