"""vLLM in this process, told what to do line by line: reads a JSON object a line from its
standard input and answers each with one. Tests use it through `vllm_driver.Driver`.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from vllm import LLM, SamplingParams
from vllm.config import KVTransferConfig
from vllm.distributed.kv_transfer.kv_transfer_state import ensure_kv_transfer_shutdown
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_model_runner import CPUModelRunner

from tests.support.vllm_driver import CONNECTOR

_MOST_STEPS = 20_000


class Child:
    """One engine at a time, and what can be asked of it: every public method is an
    operation."""

    def __init__(self) -> None:
        self._llm: Any = None
        self._finished: dict[str, list[int]] = {}

    def start(
        self,
        model: str,
        extra: dict[str, Any] | None,
        options: dict[str, Any],
        *,
        overlapping: bool,
    ) -> None:
        chosen = {
            "enforce_eager": True,
            "skip_tokenizer_init": True,
            "dtype": "float32",
            "kv_cache_memory_bytes": 32 << 20,
            "block_size": 32,
            "max_model_len": 2048,
            "enable_prefix_caching": False,
            "disable_log_stats": False,
            **options,
        }
        if extra is not None:
            chosen["kv_transfer_config"] = KVTransferConfig(
                **CONNECTOR, kv_connector_extra_config=extra
            )
        try:
            if overlapping:
                with _overlapping_steps():
                    self._llm = LLM(model=model, **chosen)
            else:
                self._llm = LLM(model=model, **chosen)
        except Exception:
            ensure_kv_transfer_shutdown()
            raise

    def stop(self) -> None:
        llm, self._llm = self._llm, None
        llm.llm_engine.engine_core.shutdown()
        ensure_kv_transfer_shutdown()
        del llm
        gc.collect()

    def generate(
        self,
        prompts: list[list[int]],
        cache_salt: str = "",
        adapter: list[Any] | None = None,
        **parameters: Any,
    ) -> object:
        asked = [_prompt(prompt, cache_salt) for prompt in prompts]
        outputs = self._llm.generate(
            asked, _sampling(parameters), use_tqdm=False, lora_request=_adapter(adapter)
        )
        return (
            [list(output.outputs[0].token_ids) for output in outputs],
            [output.num_cached_tokens or 0 for output in outputs],
        )

    def samples(self, prompt: list[int], **parameters: Any) -> list[list[int]]:
        [output] = self._llm.generate([_prompt(prompt)], _sampling(parameters), use_tqdm=False)
        return [list(sample.token_ids) for sample in output.outputs]

    def add(self, name: str, prompt: list[int], **parameters: Any) -> str:
        return cast(
            str, self._llm.llm_engine.add_request(name, _prompt(prompt), _sampling(parameters))
        )

    def step(self, times: int) -> None:
        for _ in range(times):
            self._collect(self._llm.llm_engine.step())

    def abort(self, names: list[str]) -> None:
        self._llm.llm_engine.abort_request(names, internal=False)

    def drain(self) -> dict[str, list[int]]:
        """Step until vLLM has nothing left to do, blocks that wait for saves included;
        the tokens of the requests that ended since the last call, by name."""
        core = self._llm.llm_engine.engine_core.engine_core
        for _ in range(_MOST_STEPS):
            if not core.scheduler.has_requests() and not core.batch_queue:
                finished, self._finished = self._finished, {}
                return finished
            self._collect(self._llm.llm_engine.step())
        raise RuntimeError(f"vLLM is not done after {_MOST_STEPS} steps.")

    def reset_prefix_cache(self, *, running: bool, connector: bool) -> bool:
        return bool(self._llm.llm_engine.reset_prefix_cache(running, connector))

    def steps(self, prompts: list[list[int]], tokens: int) -> list[float]:
        engine = self._llm.llm_engine
        for number, prompt in enumerate(prompts):
            self.add(f"step-{number}", prompt, max_tokens=tokens)
        seconds = []
        while engine.has_unfinished_requests():
            started = time.perf_counter()
            engine.step()
            seconds.append(time.perf_counter() - started)
        return seconds

    def counted(self, metric: str) -> int:
        metrics = self._llm.get_metrics()
        return int(sum(m.value for m in metrics if m.name == metric))

    def free_blocks(self) -> int:
        scheduler = self._llm.llm_engine.engine_core.engine_core.scheduler
        return int(scheduler.kv_cache_manager.block_pool.get_num_free_blocks())

    def attention_inputs(self, prompt: list[int]) -> dict[str, Any]:
        """What the attention layers are given to keep, by name: two lists of numbers for
        each token of the prompt; and the blocks that they then lie in."""
        core = self._llm.llm_engine.engine_core.engine_core
        model = core.model_executor.driver_worker.worker.model_runner.get_model()
        kept: dict[str, list[list[list[float]]]] = {}

        def keep(module: Any, given: Any, named: Any) -> None:
            _, *parts = [*given, *named.values()][:3]
            kept[module.layer_name] = [part.float().flatten(1).tolist() for part in parts]

        hooks = [
            module.register_forward_pre_hook(keep, with_kwargs=True)
            for module in model.modules()
            if type(module).__name__ in ("Attention", "MLAAttention")
        ]
        name = self.add("inputs", prompt, max_tokens=2)
        self.step(1)
        for hook in hooks:
            hook.remove()
        blocks = self.blocks(name)
        self.drain()
        return {"layers": kept, "blocks": blocks}

    def blocks(self, name: str) -> list[int]:
        core = self._llm.llm_engine.engine_core.engine_core
        [running] = [r for r in core.scheduler.requests if r.startswith(name)]
        [blocks] = core.scheduler.kv_cache_manager.get_block_ids(running)
        return list(blocks)

    def living(self, kind: str) -> int:
        """Objects of the class of that name, of the package engine."""
        # vLLM hides what is there after its start from the collector.
        gc.unfreeze()
        gc.collect()
        return sum(
            type(thing).__name__ == kind and type(thing).__module__.startswith("engine.")
            for thing in gc.get_objects()
        )

    def _collect(self, outputs: Any) -> None:
        for output in outputs:
            if output.finished:
                self._finished[output.request_id] = list(output.outputs[0].token_ids)


@contextmanager
def _overlapping_steps() -> Iterator[None]:
    """What starts here plans a step before it has heard of the one before, as vLLM does on
    GPUs; its platform for CPUs would switch that off. The model runner is told nothing:
    it samples at once, and knows by itself what it sampled."""
    platform = type(current_platform)
    check, make = platform.__dict__["check_and_update_config"], CPUModelRunner.__init__

    def check_and_overlap(cls: Any, vllm_config: Any) -> None:
        check.__func__(cls, vllm_config)
        vllm_config.scheduler_config.async_scheduling = True

    def make_unaware(self: Any, vllm_config: Any, device: Any) -> None:
        vllm_config.scheduler_config.async_scheduling = False
        make(self, vllm_config, device)
        vllm_config.scheduler_config.async_scheduling = True

    platform.check_and_update_config = classmethod(check_and_overlap)  # type: ignore[method-assign,assignment]
    CPUModelRunner.__init__ = make_unaware  # type: ignore[method-assign]
    try:
        yield
    finally:
        platform.check_and_update_config = check  # type: ignore[method-assign]
        CPUModelRunner.__init__ = make  # type: ignore[method-assign]


def _prompt(tokens: list[int], cache_salt: str = "") -> dict[str, object]:
    prompt: dict[str, object] = {"prompt_token_ids": tokens}
    return {**prompt, "cache_salt": cache_salt} if cache_salt else prompt


def _sampling(parameters: dict[str, Any]) -> SamplingParams:
    return SamplingParams(**{"temperature": 0, "max_tokens": 12, "ignore_eos": True, **parameters})


def _adapter(adapter: list[Any] | None) -> Any:
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    name, number, path = adapter
    return LoRARequest(name, number, str(Path(path)))


def _main() -> None:
    # vLLM and its libraries print; answers must stay whole.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    child = Child()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"result": getattr(child, asked.pop("operation"))(**asked)}
        except Exception as error:  # noqa: BLE001 - the test decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
