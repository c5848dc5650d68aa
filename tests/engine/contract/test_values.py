"""Values of query strings: booleans, integers, names, tokens, slots."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import (
    MAX_SLOTS,
    InvalidParameter,
    MissingParameters,
    SlotRun,
    TokenRange,
    compress_slots,
    count_slots,
    parse_bool,
    parse_int,
    parse_names,
    parse_slot_mapping,
    parse_token_range,
)
from engine.contract.values import join_runs, parse_switch, shorten

slots = st.integers(0, 5_000)
runs = st.lists(st.tuples(slots, st.integers(0, 20)).map(lambda p: SlotRun(p[0], sum(p))))


def expand(found: list[SlotRun]) -> list[int]:
    return [slot for run in found for slot in range(run.first, run.last + 1)]


def expand_ranges(ranges: list[int | list[int]]) -> list[int]:
    return [
        slot
        for part in ranges
        for slot in (range(part[0], part[1] + 1) if isinstance(part, list) else [part])
    ]


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "1", " true "])
def test_bool__true_in_any_case_or_1__true(text: str) -> None:
    assert parse_bool("x", text) is True


@pytest.mark.parametrize("text", ["false", "FALSE", "0"])
def test_bool__false_in_any_case_or_0__false(text: str) -> None:
    assert parse_bool("x", text) is False


@pytest.mark.parametrize("text", ["", "yes", "2", "01", "t", "true,true", "\uff11"])
def test_bool__anything_else__invalid_naming_the_parameter(text: str) -> None:
    with pytest.raises(InvalidParameter, match="'x'"):
        parse_bool("x", text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("FALSE", False)])
def test_switch__words__read(text: str, *, value: bool) -> None:
    assert parse_switch("x", text) is value


@pytest.mark.parametrize("text", ["1", "0", "", "on"])
def test_switch__digits_and_others__invalid(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_switch("x", text)


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_int__any_of_18_digits__read(value: int) -> None:
    assert parse_int("x", f" {value} ") == value


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "0x1", "1_000", "٣", "9" * 19, "--1", "1 2"])
def test_int__not_decimal_or_too_long__invalid(text: str) -> None:
    with pytest.raises(InvalidParameter, match="'x'"):
        parse_int("x", text)


@pytest.mark.parametrize("text", ["0", "11"])
def test_int__out_of_bounds__invalid_naming_the_bound(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"at (least 1|most 10)"):
        parse_int("x", text, minimum=1, maximum=10)


def test_names__blanks_and_empty_ones__trimmed_and_dropped() -> None:
    assert parse_names(" a , ,b,") == ["a", "b"]


def test_token_range__documented_form__read() -> None:
    assert parse_token_range(" 0, 100") == TokenRange(0, 100)


@pytest.mark.parametrize("text", ["5", "1,2,3", "-1,5", "5,5", "6,5", "a,b", ",", "0," + "9" * 30])
def test_token_range__anything_else__invalid(text: str) -> None:
    with pytest.raises(InvalidParameter, match="tokens_mock"):
        parse_token_range(text)


def test_token_range__blank__documented_message() -> None:
    with pytest.raises(MissingParameters, match="Must specify either tokens_input or tokens_mock"):
        parse_token_range("  ")


def test_slot_mapping__documented_example__order_kept() -> None:
    found = parse_slot_mapping("1,2,3,[9,12],17,19")
    assert expand(found) == [1, 2, 3, 9, 10, 11, 12, 17, 19]
    assert compress_slots(found) == [[1, 3], [9, 12], 17, 19]


@given(runs)
def test_slot_mapping__written_and_read__same_slots(given_runs: list[SlotRun]) -> None:
    text = ", ".join(
        str(run.first) if run.first == run.last else f"[{run.first}, {run.last}]"
        for run in given_runs
    )
    if not text:
        return
    found = parse_slot_mapping(text)
    assert expand(found) == expand(given_runs)
    assert count_slots(found) == len(expand(given_runs))


@given(runs)
def test_compress__any_runs__same_slots_in_the_same_order(given_runs: list[SlotRun]) -> None:
    ranges = compress_slots(given_runs)
    assert expand_ranges(ranges) == expand(given_runs)
    assert all(part[1] - part[0] >= 2 for part in ranges if isinstance(part, list))


@given(runs)
def test_join__any_runs__as_few_as_possible(given_runs: list[SlotRun]) -> None:
    joined = list(join_runs(given_runs))
    assert expand(joined) == expand(given_runs)
    assert all(b.first != a.last + 1 for a, b in pairwise(joined))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[5,2]", r"\[5,2\]"),
        ("1,-3", "-3"),
        ("1,x,2", "'x'"),
        ("1,,2", "''"),
        ("[1,2,3]", r"\[1,2"),
        ("[1,2", r"\[1,2"),
        ("1]", r"1\]"),
        ("[[1,2]]", r"\[\[1"),
        ("1.5", r"1\.5"),
        (f"0,[0,{MAX_SLOTS}]", str(MAX_SLOTS)),
        ("9" * 19, "9999"),
    ],
)
def test_slot_mapping__malformed__invalid_naming_the_part(text: str, part: str) -> None:
    with pytest.raises(InvalidParameter, match=part):
        parse_slot_mapping(text)


@given(st.text())
def test_slot_mapping__any_text__runs_or_invalid(text: str) -> None:
    try:
        found = parse_slot_mapping(text)
    except InvalidParameter as error:
        message = error.message
    else:
        assert all(0 <= run.first <= run.last for run in found)
        return
    assert "slot_mapping" in message
    assert len(message) < 300


@given(st.text())
def test_shorten__any_text__a_short_beginning(text: str) -> None:
    assert len(shorten(text)) <= 40
    assert text.startswith(shorten(text).removesuffix("…"))
