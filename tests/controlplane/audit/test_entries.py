"""The canonical encoding of an entry (RFC 8785)."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from controlplane.audit import canonical
from controlplane.audit.entries import MAX_PART_BYTES, encode

AT = "2026-11-24T15:04:05.123456Z"
FLOATS = st.floats(-1e15, 1e15)
SCALARS = st.none() | st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS | st.text()
VALUES = st.recursive(
    SCALARS | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _can_be_written(value: Any) -> bool:
    try:
        rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        return False
    return True


@given(
    scalars=st.dictionaries(
        st.sampled_from(["action", "agent", "reason", "status"]),
        SCALARS,
        min_size=4,
    ),
    part=VALUES,
)
def test_encode__any_values__is_what_the_library_writes_for_the_whole(scalars, part):
    scalars = {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in scalars.items()
    }
    encoded = encode(scalars, {"answer": part}).at(AT)
    document = json.loads(encoded)

    assert rfc8785.dumps(document) == encoded
    assert document["at"] == AT
    assert {name: document[name] for name in scalars} == scalars


def test_encode__numbers_beyond_what_readers_agree_on__are_text():
    encoded = encode({"status": 1}, {"answer": [2**53, float("inf"), float("nan"), -(2**60)]})

    assert json.loads(encoded.at(AT))["answer"] == [
        "9007199254740992",
        "inf",
        "nan",
        "-1152921504606846976",
    ]


@pytest.mark.parametrize("extra", [0, 1])
def test_encode__long_part__is_left_out_with_length_and_digest(extra):
    text = "x" * (MAX_PART_BYTES - 2 + extra)
    answer = json.loads(encode({"status": 1}, {"answer": text}).at(AT))["answer"]

    if extra:
        assert answer["left_out"] == f"{MAX_PART_BYTES + 1} bytes"
        assert len(answer["sha256"]) == 64
    else:
        assert answer == text


@given(VALUES.filter(_can_be_written))
def test_canonical__any_value__is_what_the_library_writes(value):
    assert canonical.dumps(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        {"\ue000": 1, "\U00010000": 2},
        {"é": 1, "e": [1e-5, 1e-7, 1.5e300, 5.0, -0.0, 1e16, 0.1]},
        ["1e-05", "v1.0", "a 5.0]", "\u2028\x7f\x01"],
    ],
)
def test_canonical__what_the_standard_library_writes_otherwise__is_what_the_library_writes(value):
    assert canonical.dumps(value) == rfc8785.dumps(value)


def test_canonical__plain_document__takes_the_fast_way(monkeypatch):
    monkeypatch.setattr(rfc8785, "dumps", lambda value: pytest.fail("took the slow way"))

    assert canonical.dumps({"b": [1, 0.25, "10.0.0.7", "kv/1.0", "ü"], "a": None}) == (
        '{"a":null,"b":[1,0.25,"10.0.0.7","kv/1.0","ü"]}'.encode()
    )
