"""Query strings and JSON bodies, read by the catalogue."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import (
    CATALOGUE,
    MAX_BODY_BYTES,
    BodyTooLarge,
    ContractError,
    InvalidBody,
    InvalidParameter,
    MissingParameters,
    SlotRun,
    TokenRange,
    endpoint,
    parse_json_object,
    parse_query,
    read_parameters,
)

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
json_documents = st.dictionaries(
    unicode_text,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**30), 10**30)
        | st.floats(allow_nan=False, allow_infinity=False)
        | unicode_text,
        lambda children: st.lists(children) | st.dictionaries(unicode_text, children),
        max_leaves=10,
    ),
)


def attempt(function: Callable[..., Any], *arguments: object) -> Any:
    """What the function returns, or the ContractError that it raises."""
    try:
        return function(*arguments)
    except ContractError as error:
        return error


@given(st.lists(st.tuples(unicode_text, unicode_text)))
def test_query__any_pairs__every_value_kept_in_order(pairs: list[tuple[str, str]]) -> None:
    query = parse_query(urlencode(pairs).encode("ascii"))
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    assert query == expected


@given(st.binary())
def test_query__any_bytes__read_or_refused_as_the_callers_fault(raw: bytes) -> None:
    outcome = attempt(parse_query, raw)
    assert isinstance(outcome, dict) or outcome.status == 400


def test_query__too_many_fields__refused() -> None:
    with pytest.raises(ContractError, match="more than 1000"):
        parse_query(b"&".join([b"a=1"] * 1_001))


def test_parameters__repeated_scalar__last_wins() -> None:
    query = {"chunk_size": ["0", "4"], "slot_mapping": ["[0,3]"], "nonsense": ["1"]}
    assert read_parameters(endpoint("check_kvcache"), query) == {
        "slot_mapping": [SlotRun(0, 3)],
        "chunk_size": 4,
        "layerwise": False,
    }


def test_parameters__list__every_value() -> None:
    values = read_parameters(endpoint("clear_cache"), {"locations": ["A", " B "]})
    assert values == {"locations": ["A", "B"]}


def test_parameters__absent_optional__not_a_key() -> None:
    assert read_parameters(endpoint("record_slot"), {}) == {}


def test_parameters__token_range__typed() -> None:
    values = read_parameters(endpoint("store_cache"), {"tokens_mock": ["0,100"]})
    assert values == {"tokens_mock": TokenRange(0, 100)}


@pytest.mark.parametrize(
    "entry", [e for e in CATALOGUE if any(p.required for p in e.parameters)], ids=str
)
def test_parameters__required_one_absent__missing_naming_it(entry) -> None:
    first = next(p for p in entry.parameters if p.required)
    with pytest.raises(MissingParameters) as caught:
        read_parameters(entry, {})
    assert caught.value.parameter == first.name
    assert caught.value.error == "Missing parameters"


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.operation_id)
@given(data=st.data())
def test_parameters__any_text__read_or_refused_naming_the_parameter(entry, data) -> None:
    query = {
        parameter.name: data.draw(st.lists(st.text(), max_size=2)) for parameter in entry.parameters
    }
    outcome = attempt(read_parameters, entry, query)
    if isinstance(outcome, InvalidParameter):
        assert (outcome.parameter in query, outcome.status) == (True, 400)
    else:
        assert set(outcome) <= set(query)


@given(json_documents)
def test_body__any_json_object__read_as_written(document: dict[str, object]) -> None:
    assert parse_json_object(json.dumps(document).encode()) == document


@given(st.binary(max_size=100))
def test_body__any_bytes__read_or_refused_as_the_callers_fault(raw: bytes) -> None:
    outcome = attempt(parse_json_object, raw)
    assert isinstance(outcome, dict | InvalidBody)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "not JSON"),
        (b"[]", "JSON object"),
        (b'"text"', "JSON object"),
        (b"null", "JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "a": 1}', "'a' stands twice"),
        (b'{"x": {"a": 1, "b": 2, "a": 3}}', "'a' stands twice"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": ' + b"1" * 41 + b"}", "more than 40"),
        (b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "deeper than 50"),
        (b'{"a": ' + b"[" * 500_000, "deeper than 50"),
        (rb'{"a": "\ud800"}', "surrogate"),
        (rb'{"\udfff": 1}', "surrogate"),
    ],
)
def test_body__not_strict_json__refused_saying_why(raw: bytes, word: str) -> None:
    with pytest.raises(InvalidBody, match=word):
        parse_json_object(raw)


def test_body__longest_allowed__read_and_one_more_byte_refused() -> None:
    longest = b'{"a": "' + b"x" * (MAX_BODY_BYTES - 9) + b'"}'
    assert len(longest) == MAX_BODY_BYTES
    assert parse_json_object(longest)
    with pytest.raises(BodyTooLarge, match=str(MAX_BODY_BYTES)):
        parse_json_object(longest + b" ")
