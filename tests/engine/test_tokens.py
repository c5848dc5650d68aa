import json
import os
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
    as_token_array,
    chunk_hashes,
    namespace,
    root_hash,
)

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "tests/data/chunk_hashes.json").read_text("utf-8"))["vectors"]
TOKENS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)


def key_maker(**keys: object) -> ChunkKeyMaker:
    return ChunkKeyMaker(worker_metadata(EngineConfig.load(flags=keys), 0, "engine"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_chunk_hashes__known_tokens__gives_the_known_answer(vector: dict[str, object]) -> None:
    root = root_hash(vector["model_name"], vector["chunk_size"], vector["cache_salt"])  # type: ignore[arg-type]
    assert root.hex() == vector["root"]
    hashes = chunk_hashes(root, as_token_array(vector["tokens"]), vector["chunk_size"])  # type: ignore[arg-type]
    assert [digest.hex() for digest in hashes] == vector["chunk_hashes"]


def test_chunk_hashes__other_processes_and_hash_seeds__agree() -> None:
    program = (
        "from engine.tokens import *\n"
        "h = chunk_hashes(root_hash('m', 4, 's'), as_token_array(list(range(9))), 4)\n"
        "print(*[d.hex() for d in h])\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    hashes = chunk_hashes(root_hash("m", 4, "s"), as_token_array(list(range(9))), 4)
    assert answers == {" ".join(digest.hex() for digest in hashes) + "\n"}


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
    for tokens in (
        range(1, 6),
        (1, 2, 3, 4, 5),
        np.arange(1, 6, dtype=np.int32),
        np.arange(1, 6, dtype=">i8"),
        np.arange(1, 11, dtype=np.uint64)[:5],
        np.arange(2, 12, 2) // 2,
        np.arange(10)[1:6],
    ):
        assert chunk_hashes(root, as_token_array(tokens), 4) == wanted


@pytest.mark.parametrize(
    "tokens",
    [
        [1.5],
        ["a"],
        [True],
        [[1], [2]],
        [[1], [2, 3]],
        5,
        [2**64],
        np.array([2**63], dtype=np.uint64),
        [None],
    ],
)
def test_as_token_array__not_a_flat_list_of_integers__is_refused(tokens: object) -> None:
    with pytest.raises(InvalidTokens):
        as_token_array(tokens)  # type: ignore[arg-type]


def test_make__no_tokens__makes_no_key() -> None:
    assert key_maker().make(as_token_array([])) == []
