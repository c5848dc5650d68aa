import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.metadata import worker_metadata
from engine.tokens import (
    ChunkKeyMaker,
    InvalidTokens,
    Tokens,
    as_token_array,
    chunk_hashes,
    namespace,
    root_hash,
)

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "tests/data/chunk_hashes.json").read_text("utf-8"))["vectors"]
TOKENS = st.lists(
    st.one_of(
        st.integers(0, 2**32 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([-1, 0, 2**32 - 1, 2**32]),
    ),
    max_size=40,
)
DTYPES = [
    np.dtype(f"{order}{kind}{size}") for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)
]


def key_maker(**keys: object) -> ChunkKeyMaker:
    return ChunkKeyMaker(worker_metadata(EngineConfig.load(flags=keys), 0, "engine"))


def reference_hashes(root: bytes, tokens: list[int], chunk_size: int) -> list[bytes]:
    """The documented formula, a token at a time."""
    parent = root
    hashes = []
    for start in range(0, len(tokens), chunk_size):
        chunk = tokens[start : start + chunk_size]
        if all(0 <= token < 2**32 for token in chunk):
            written = b"".join(struct.pack("<I", token) for token in chunk)
        else:
            written = b"".join(struct.pack("<q", token) for token in chunk) + b"w"
        parent = hashlib.sha256(parent + written).digest()
        hashes.append(parent)
    return hashes


def fits(tokens: list[int], dtype: np.dtype[np.integer]) -> bool:
    limits = np.iinfo(dtype)
    return all(limits.min <= token <= limits.max for token in tokens)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_chunk_hashes__known_tokens__gives_the_known_answer(vector: dict[str, object]) -> None:
    root = root_hash(vector["model_name"], vector["chunk_size"], vector["cache_salt"])  # type: ignore[arg-type]
    assert root.hex() == vector["root"]
    hashes = chunk_hashes(root, as_token_array(vector["tokens"]), vector["chunk_size"])  # type: ignore[arg-type]
    assert [digest.hex() for digest in hashes] == vector["chunk_hashes"]


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_make__other_process_and_hash_seed__makes_the_same_keys(seed: str) -> None:
    program = (
        "from engine.config import EngineConfig\n"
        "from engine.metadata import worker_metadata\n"
        "from engine.tokens import ChunkKeyMaker, as_token_array\n"
        "config = EngineConfig.load(flags={'chunk_size': 4})\n"
        "maker = ChunkKeyMaker(worker_metadata(config, 0, 'engine'))\n"
        "keys = maker.make(as_token_array([*range(9), -1]), 'salt')\n"
        "print(*[f'{key.namespace} {key.chunk_hash.hex()}' for key in keys], sep='\\n')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    keys = key_maker(chunk_size=4).make(as_token_array([*range(9), -1]), "salt")
    assert answer.splitlines() == [f"{key.namespace} {key.chunk_hash.hex()}" for key in keys]


@settings(deadline=None)
@given(TOKENS, st.integers(1, 8))
def test_chunk_hashes__list_tuple_or_array_of_any_type__follow_the_formula(
    tokens: list[int], chunk_size: int
) -> None:
    root = root_hash("m", chunk_size)
    arrays = [np.array(tokens, dtype) for dtype in DTYPES if fits(tokens, dtype)]
    wanted = reference_hashes(root, tokens, chunk_size)
    forms: list[Tokens] = [tokens, tuple(tokens), *arrays]
    for given_tokens in forms:
        assert chunk_hashes(root, as_token_array(given_tokens), chunk_size) == wanted


def test_chunk_hashes__wide_token_later_on__leaves_the_prefix_as_it_was() -> None:
    root = root_hash("m", 4)
    narrow = chunk_hashes(root, as_token_array(list(range(12))), 4)
    mixed = chunk_hashes(root, as_token_array([*range(8), -1]), 4)
    assert mixed[:2] == narrow[:2]


def test_chunk_hashes__cut_array__hash_as_the_cut_tokens() -> None:
    root = root_hash("m", 4)
    for last in (11, -1):
        tokens = [*range(11), last]
        for end in (0, 4, 8, 12):
            wanted = reference_hashes(root, tokens[:end], 4)
            assert chunk_hashes(root, as_token_array(tokens)[:end], 4) == wanted


@settings(deadline=None)
@given(TOKENS, TOKENS, st.integers(1, 8))
def test_make__two_sequences__share_keys_exactly_as_far_as_they_share_chunks(
    left: list[int], right: list[int], chunk_size: int
) -> None:
    maker = key_maker(chunk_size=chunk_size)
    left_keys = maker.make(as_token_array(left))
    right_keys = maker.make(as_token_array(right))
    assert len(left_keys) == -(-len(left) // chunk_size)
    for index, (one, other) in enumerate(zip(left_keys, right_keys, strict=False)):
        end = (index + 1) * chunk_size
        assert (one == other) == (left[:end] == right[:end])


@pytest.mark.parametrize(
    "difference",
    [
        {"model_name": "other"},
        {"kv_dtype": "float32"},
        {"world_size": 2},
        {"chunk_size": 8},
        {"use_mla": True, "num_kv_heads": 1},
    ],
)
def test_make__other_engine__shares_no_key(difference: dict[str, object]) -> None:
    tokens = as_token_array(range(16))
    ours = set(key_maker(chunk_size=4).make(tokens))
    theirs = set(key_maker(**{"chunk_size": 4, **difference}).make(tokens))
    assert not ours & theirs


def test_make__salts_differ__shares_no_key() -> None:
    maker = key_maker(chunk_size=4)
    tokens = as_token_array(range(16))
    assert not set(maker.make(tokens)) & set(maker.make(tokens, "tenant"))


def test_namespace__names_model_world_worker_dtype_and_format() -> None:
    config = EngineConfig.load(flags={"world_size": 4, "model_name": "m"})
    assert namespace(worker_metadata(config, 2, "e")) == "m@4@2@bfloat16@KV_2LTD"


def test_as_token_array__lists_and_arrays__hash_alike() -> None:
    root = root_hash("m", 4)
    wanted = chunk_hashes(root, as_token_array([1, 2, 3, 4, 5]), 4)
    forms: list[Tokens] = [
        range(1, 6),
        (1, 2, 3, 4, 5),
        [np.int64(1), 2, 3, 4, 5],  # type: ignore[list-item]
        np.arange(1, 6, dtype=np.int32),
        np.arange(1, 6, dtype=">i8"),
        np.arange(1, 11, dtype=np.uint64)[:5],
        np.arange(2, 12, 2) // 2,
        np.arange(10)[1:6],
    ]
    for tokens in forms:
        assert chunk_hashes(root, as_token_array(tokens), 4) == wanted


@pytest.mark.parametrize(
    "tokens",
    [
        [1.5],
        ["a"],
        [True],
        [True, False],
        (True,),
        [np.True_],
        [1, 2.0],
        [1, None],
        b"1234",
        "1234",
        [[1], [2]],
        [[1], [2, 3]],
        5,
        [2**63],
        [2**64],
        [-(2**63) - 1],
        np.array([2**63], dtype=np.uint64),
        [None],
    ],
)
def test_as_token_array__not_a_flat_list_of_integers__is_refused(tokens: object) -> None:
    with pytest.raises(InvalidTokens):
        as_token_array(tokens)  # type: ignore[arg-type]


def test_make__no_tokens__makes_no_key() -> None:
    assert key_maker().make(as_token_array([])) == []
