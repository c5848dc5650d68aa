"""Checksums of vLLM's slots are those of the K and V that the model gave its attention
layers to keep, whatever order vLLM's kernels keep them in."""

import hashlib
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from engine.device import SlotsUnreadable
from engine.vllm.facts import KVFacts
from engine.vllm.layout import planes_of
from tests.engine.vllm.conftest import BLOCK, BORDERS, CHUNK, Cached, StartCached, tokens
from tests.support import tiny_deepseek
from tests.support.vllm_driver import AttentionInputs

HAS_AMX = torch.cpu._is_amx_tile_supported()
LENGTH, SIZE = 2 * BLOCK + 5, 10
"""Tokens of the prompt, and of the chunks that are hashed."""


def checked(cached: Cached, inputs: AttentionInputs, length: int = LENGTH) -> dict[str, list[str]]:
    """What the agent says of the prompt's first slots."""
    slots = [block * BLOCK + offset for block in inputs.blocks for offset in range(BLOCK)]
    mapping = ",".join(map(str, slots[:length]))
    asked = {"slot_mapping": mapping, "chunk_size": SIZE, "layerwise": "true"}
    answer = cached.worker.get("/cache/kvcache/check", params=asked)
    answer.raise_for_status()
    digests: dict[str, list[str]] = answer.json()["chunk_checksums"]
    return digests


def digests_of(planes: list[list[list[float]]]) -> list[str]:
    """MD5 of each chunk of these tokens: all of the first plane, then of the next."""
    found = []
    for start in range(0, LENGTH, SIZE):
        rows = [np.array(plane[start : min(LENGTH, start + SIZE)], np.float32) for plane in planes]
        found.append(hashlib.md5(b"".join(part.tobytes() for part in rows)).hexdigest())
    return found


def check_prompt(start: StartCached, dtype: str) -> None:
    with start({"dtype": dtype}) as cached:
        inputs = cached.engine.attention_inputs(tokens(1, LENGTH))
        told = checked(cached, inputs)
    assert told == {name: digests_of(planes) for name, planes in inputs.layers.items()}
    assert len({*chain(*told.values())}) == 2 * -(-LENGTH // SIZE)


@pytest.mark.slow
def test_check__slots_of_a_prompt__are_what_the_model_gave_to_keep(start: StartCached) -> None:
    check_prompt(start, "float32")


@pytest.mark.slow
@pytest.mark.skipif(HAS_AMX, reason="vLLM packs bfloat16 for AMX on this processor")
def test_check__bfloat16__is_hashed_as_float32(start: StartCached) -> None:
    check_prompt(start, "bfloat16")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_AMX, reason="this processor has no AMX")
def test_check__packed_for_amx__503_with_the_reason(start: StartCached) -> None:
    with start({"dtype": "bfloat16"}) as cached:
        asked = {"slot_mapping": "0", "chunk_size": 1}
        answer = cached.worker.get("/cache/kvcache/check", params=asked)
        assert (answer.status_code, "for AMX" in answer.json()["message"]) == (503, True)


@pytest.mark.slow
def test_check__latent_attention__hashes_the_latent_vector_and_its_rotated_part(
    start: StartCached, tmp_path: Path
) -> None:
    model = tiny_deepseek.write_model(tmp_path)
    # vLLM's CPU kernels for it take no float32.
    with start({"dtype": "bfloat16"}, model=model) as cached:
        inputs = cached.engine.attention_inputs(tokens(1, LENGTH))
        told = checked(cached, inputs)
    latent = {
        name: [[[*c, *rotated] for c, rotated in zip(*parts, strict=True)]]
        for name, parts in inputs.layers.items()
    }
    assert told == {name: digests_of(planes) for name, planes in latent.items()}


@pytest.mark.slow
def test_load__latent_attention__brings_back_the_same_bytes(
    start: StartCached, tmp_path: Path
) -> None:
    # By bytes, not by tokens: vLLM's CPU kernels for it rotate positions wrongly.
    model = tiny_deepseek.write_model(tmp_path)
    prompt = tokens(1, 2 * CHUNK + 5)
    with start({"dtype": "bfloat16"}, model=model) as cached:
        first = checked(cached, cached.engine.attention_inputs(prompt), 2 * CHUNK)
        cached.engine.generate(BORDERS)
        assert cached.counters()["retrieved_tokens"] == 0
        again = checked(cached, cached.engine.attention_inputs(prompt), 2 * CHUNK)
        assert cached.counters()["retrieved_tokens"] == 2 * CHUNK
    assert again == first


def test_planes__packed_for_amx__are_refused_and_the_reason_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    facts = SimpleNamespace(use_mla=False, kv_dtype="bfloat16", block_size=32, head_size=64)
    with pytest.raises(SlotsUnreadable, match="AMX"):
        planes_of(torch.zeros(1, 1, 32, 128), cast(KVFacts, facts))
