"""What the agent says of vLLM's slots is what the model put there."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.engine.vllm.conftest import BLOCK, SHARED, Cached, StartCached
from tests.support import tiny_deepseek
from tests.support.tiny_llama import write_model

pytestmark = pytest.mark.slow
MLA = {"attention_backend": "CPU_MLA", "dtype": "float32"}
PROMPT = SHARED[0][:150]


def digests_of(parts: Sequence[Sequence[Sequence[float]]], chunk_size: int) -> list[str]:
    """MD5 of each chunk: its tokens' numbers of the first part, then of the next."""
    arrays = [np.array(part, np.float32) for part in parts]
    return [
        hashlib.md5(b"".join(a[start : start + chunk_size].tobytes() for a in arrays)).hexdigest()
        for start in range(0, len(arrays[0]), chunk_size)
    ]


def check(cached: Cached, blocks: list[int], size: int, num_tokens: int) -> dict[str, list[str]]:
    """The agent's checksums of the tokens in those blocks, 50 at a time."""
    slots = [block * size + offset for block in blocks for offset in range(size)]
    mapping = ",".join(map(str, slots[:num_tokens]))
    parameters = {"slot_mapping": mapping, "chunk_size": "50", "layerwise": "true"}
    answer = cached.worker.get("/cache/kvcache/check", params=parameters).raise_for_status()
    found: dict[str, list[str]] = answer.json()["chunk_checksums"]
    return found


# A head of 48 is not packed for AMX, wherever this runs.
@pytest.mark.parametrize(("dtype", "head_size"), [("float32", 32), ("bfloat16", 48)])
def test_check__prompt_was_computed__digests_of_its_keys_and_values(
    start: StartCached, tmp_path: Path, dtype: str, head_size: int
) -> None:
    model = write_model(tmp_path, head_size=head_size)
    with start({"dtype": dtype}, model=model) as cached:
        inputs = cached.engine.attention_inputs(PROMPT)
        expected = {name: digests_of(parts, 50) for name, parts in inputs.layers.items()}
        assert len(expected) == 2
        assert check(cached, inputs.blocks, BLOCK, len(PROMPT)) == expected


def test_check__packed_for_amx__refused_with_the_reason(start: StartCached) -> None:
    with start({"dtype": "bfloat16"}) as cached:
        inputs = cached.engine.attention_inputs(PROMPT)
        answer = cached.worker.get(
            "/cache/kvcache/check", params={"slot_mapping": "32", "chunk_size": "1"}
        )
        if answer.status_code == 200:
            first = {name: [p[:1] for p in parts] for name, parts in inputs.layers.items()}
            combined = "".join(digests_of(first[name], 1)[0] for name in sorted(first))
            digest = hashlib.md5(combined.encode()).hexdigest()
            assert inputs.blocks[0] == 1
            assert answer.json()["chunk_checksums"] == [digest]
        else:
            assert answer.status_code == 503
            assert "AMX" in answer.json()["message"]
        warm = cached.engine.generate([PROMPT])
        assert warm.cached == [128]


def test_check__latent_attention__digests_of_its_vectors_before_and_after_a_load(
    start: StartCached, tmp_path: Path
) -> None:
    model = tiny_deepseek.write_model(tmp_path)
    with start(MLA, model=model) as cached:
        meta = cached.worker.get("/meta").json()
        size = tiny_deepseek.LATENT + tiny_deepseek.ROTATED
        assert (meta["use_mla"], meta["kv_shape"][1:]) == (True, [1, 64, 1, size])
        inputs = cached.engine.attention_inputs(PROMPT)
        kept = {
            name: [[[*latent, *rotated] for latent, rotated in zip(*parts, strict=True)]]
            for name, parts in inputs.layers.items()
        }
        assert len(kept) == 2
        # vLLM registers a layer under another name than its module has.
        expected = sorted(digests_of(parts, 50) for parts in kept.values())
        block = 16
        found = check(cached, inputs.blocks, block, len(PROMPT))
        assert sorted(found.values()) == expected
        # It shares the first 128 tokens, and takes the blocks that are free now.
        cached.engine.add("other", SHARED[1], max_tokens=4)
        cached.engine.step()
        cached.engine.add("again", PROMPT, max_tokens=4)
        cached.engine.step(3)
        blocks = cached.engine.blocks("again")
        assert not set(blocks) & set(inputs.blocks[:2])
        again = check(cached, blocks, block, 128)
        before = [digests_of([parts[0][:128]], 50) for parts in kept.values()]
        assert sorted(again.values()) == sorted(before)
        assert cached.counters()["retrieved_tokens"] == 2 * 128
