"""vLLM in a process of its own, told what to do line by line: importing it changes what
other tests see, and takes ten seconds, so that all tests share one.

Run as a script, it reads a JSON object a line from its standard input and answers each
with one. From tests it is used through `Driver`.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 240
CONNECTOR = {
    "kv_connector": "KVPlaneConnector",
    "kv_connector_module_path": "engine.vllm.connector",
    "kv_role": "kv_both",
}


class Generated(NamedTuple):
    """What vLLM made of each prompt: the tokens, and how many of the prompt's came from a
    cache."""

    tokens: list[list[int]]
    cached: list[int]


class Refused(Exception):
    """vLLM raised; the text is its message."""


class Driver:
    """The child process."""

    def __init__(self, runtime_directory: Path, log: Path) -> None:
        environment = {
            **os.environ,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_LOGGING_LEVEL": "INFO",
            "VLLM_NO_USAGE_STATS": "1",
            "XDG_RUNTIME_DIR": str(runtime_directory),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.vllm_driver"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def call(self, operation: str, **arguments: Any) -> Any:
        """Raises Refused with what vLLM raised."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("no pipes")
        stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
        stdin.flush()
        watchdog = threading.Timer(_START_SECONDS, self._process.kill)
        watchdog.start()
        line = stdout.readline()
        watchdog.cancel()
        if not line:
            raise RuntimeError(f"the driver died; see {self._log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    @contextmanager
    def engine(
        self, model: Path, extra: Mapping[str, object] | None, **options: object
    ) -> Iterator["Engine"]:
        """An engine with the connector configured by `extra`, or without it if that is
        None."""
        self.call(
            "start",
            model=str(model),
            extra=None if extra is None else dict(extra),
            options=options,
        )
        try:
            yield Engine(self)
        finally:
            self.call("stop")

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


class Engine:
    """The engine that the driver runs."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def generate(self, prompts: Sequence[Sequence[int]], **parameters: object) -> Generated:
        """Greedy, 12 tokens each unless `parameters` (of SamplingParams) say otherwise;
        `cache_salt` is the prompts'."""
        return Generated(
            *self._driver.call("generate", prompts=[list(p) for p in prompts], **parameters)
        )

    def steps(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[float]:
        """Seconds of each of vLLM's steps, from the first prompt to the last token."""
        found = self._driver.call("steps", prompts=[list(p) for p in prompts], tokens=max_tokens)
        return [float(seconds) for seconds in found]

    def preemptions(self) -> int:
        """How often a request lost its blocks since the start."""
        return int(self._driver.call("preemptions"))


def _main() -> None:
    from vllm import LLM, SamplingParams
    from vllm.config import KVTransferConfig
    from vllm.distributed.kv_transfer import ensure_kv_transfer_shutdown

    # vLLM and its libraries print; answers must stay whole.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    running: dict[str, Any] = {}

    def start(model: str, extra: dict[str, Any] | None, options: dict[str, Any]) -> None:
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
            running["llm"] = LLM(model=model, **chosen)
        except Exception:
            ensure_kv_transfer_shutdown()
            raise

    def stop() -> None:
        llm = running.pop("llm")
        llm.llm_engine.engine_core.shutdown()
        ensure_kv_transfer_shutdown()
        del llm
        gc.collect()

    def generate(prompts: list[list[int]], cache_salt: str = "", **parameters: Any) -> object:
        chosen = {"temperature": 0, "max_tokens": 12, "ignore_eos": True, **parameters}
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        if cache_salt:
            asked = [{**prompt, "cache_salt": cache_salt} for prompt in asked]
        outputs = running["llm"].generate(asked, SamplingParams(**chosen), use_tqdm=False)
        return (
            [list(output.outputs[0].token_ids) for output in outputs],
            [output.num_cached_tokens or 0 for output in outputs],
        )

    def steps(prompts: list[list[int]], tokens: int) -> list[float]:
        engine = running["llm"].llm_engine
        parameters = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
        for number, prompt in enumerate(prompts):
            engine.add_request(f"step-{number}", {"prompt_token_ids": prompt}, parameters)
        seconds = []
        while engine.has_unfinished_requests():
            started = time.perf_counter()
            engine.step()
            seconds.append(time.perf_counter() - started)
        return seconds

    def preemptions() -> int:
        metrics = running["llm"].get_metrics()
        return sum(m.value for m in metrics if m.name == "vllm:num_preemptions")

    operations = {
        "start": start,
        "stop": stop,
        "generate": generate,
        "preemptions": preemptions,
        "steps": steps,
    }
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"result": operations[asked.pop("operation")](**asked)}
        except Exception as error:  # noqa: BLE001 - the test decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
