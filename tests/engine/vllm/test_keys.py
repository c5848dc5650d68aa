"""KV is found only where the weights that made it are the same."""

import shutil
from pathlib import Path

import pytest

from tests.engine.vllm.conftest import SHARED, StartCached
from tests.engine.vllm.test_reuse import Plain
from tests.support.tiny_llama import write_adapter, write_model
from tests.support.vllm_driver import Driver

pytestmark = pytest.mark.slow
LORA = {"enable_lora": True, "max_loras": 2, "max_lora_rank": 8}
PROMPTS = SHARED[:2]


def test_restart__other_weights_under_the_same_name__find_nothing(
    start: StartCached, driver: Driver, plain: Plain, tmp_path: Path
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.2}
    model = write_model(tmp_path / "model")
    with start(model=model, **disk) as cached:
        assert cached.engine.generate(PROMPTS).tokens == plain["shared"].tokens[:2]
    write_model(model, seed=1)
    with driver.engine(model, None) as engine:
        without = engine.generate(PROMPTS).tokens
    with start(model=model, **disk) as cached:
        retrained = cached.engine.generate(PROMPTS)
    assert without != plain["shared"].tokens[:2]
    assert (retrained.tokens, retrained.cached[0]) == (without, 0)


def test_restart__configuration_overridden__finds_nothing(
    start: StartCached, tmp_path: Path
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.2}
    with start(**disk) as cached:
        cached.engine.generate(PROMPTS[:1])
    with start({"hf_overrides": {"rms_norm_eps": 1e-2}}, **disk) as cached:
        assert cached.engine.generate(PROMPTS[:1]).cached == [0]


def test_adapters__same_prompts__each_finds_its_own(
    start: StartCached, driver: Driver, tmp_path: Path
) -> None:
    adapters: list[list[object] | None] = [None]
    for number in (1, 2):
        directory = write_adapter(tmp_path / str(number), seed=number)
        adapters.append([f"adapter-{number}", number, str(directory)])
    model = write_model(tmp_path / "model")
    with driver.engine(model, None, **LORA) as engine:
        without = [engine.generate(PROMPTS, adapter=adapter).tokens for adapter in adapters]
    assert without[0] != without[1] != without[2]
    disk = {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.2}
    with start(LORA, model=model, **disk) as cached:
        cold = [cached.engine.generate(PROMPTS, adapter=adapter) for adapter in adapters]
        warm = [cached.engine.generate(PROMPTS, adapter=adapter) for adapter in adapters]
    assert [found.tokens for found in cold] == [found.tokens for found in warm] == without
    assert [found.cached[0] for found in cold] == [0, 0, 0]
    assert [found.cached for found in warm] == [[192, 192]] * 3

    # Other weights under the first one's name.
    write_adapter(tmp_path / "1", seed=3)
    with driver.engine(model, None, **LORA) as engine:
        changed = engine.generate(PROMPTS, adapter=adapters[1]).tokens
    with start(LORA, model=model, **disk) as cached:
        again = [cached.engine.generate(PROMPTS, adapter=adapter) for adapter in adapters]
        assert [found.tokens for found in again] == [without[0], changed, without[2]]
        assert [found.cached[0] for found in again] == [192, 0, 192]
        # vLLM still has what it read; what lies there now is not that.
        shutil.rmtree(tmp_path / "1")
        assert cached.engine.generate(PROMPTS, adapter=adapters[1]).cached == [0, 0]
        write_adapter(tmp_path / "1", seed=4)
        assert cached.engine.generate(PROMPTS, adapter=adapters[1]).cached == [0, 0]
