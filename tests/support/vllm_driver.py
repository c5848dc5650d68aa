"""vLLM in a process of its own (`vllm_child`): importing it changes what other tests see,
and takes ten seconds, so that all tests share one.
"""

import json
import os
import subprocess
import sys
import threading
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


class AttentionInputs(NamedTuple):
    """By layer, K and V, or the latent vector and its rotated part: numbers for each
    token. And the blocks in which the tokens lie."""

    layers: dict[str, list[list[list[float]]]]
    blocks: list[int]


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
            [sys.executable, "-m", "tests.support.vllm_child"],
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
        self,
        model: Path,
        extra: Mapping[str, object] | None,
        *,
        overlapping: bool = False,
        **options: object,
    ) -> Iterator["Engine"]:
        """An engine with the connector configured by `extra`, or without it if that is
        None. Where steps are `overlapping`, vLLM plans one before it has heard of the
        one before, as on GPUs."""
        self.call(
            "start",
            model=str(model),
            extra=None if extra is None else dict(extra),
            overlapping=overlapping,
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
        `cache_salt` is the prompts', `adapter` the name, number and directory of a LoRA
        adapter."""
        return Generated(
            *self._driver.call("generate", prompts=[list(p) for p in prompts], **parameters)
        )

    def samples(self, prompt: Sequence[int], **parameters: object) -> list[list[int]]:
        """The tokens of each of `n` samples."""
        found: list[list[int]] = self._driver.call("samples", prompt=list(prompt), **parameters)
        return found

    def add(self, name: str, prompt: Sequence[int], **parameters: object) -> None:
        """A request that runs with the next steps."""
        self._driver.call("add", name=name, prompt=list(prompt), **parameters)

    def step(self, times: int = 1) -> None:
        self._driver.call("step", times=times)

    def abort(self, *names: str) -> None:
        self._driver.call("abort", names=list(names))

    def drain(self) -> dict[str, list[int]]:
        """Step until nothing is left to do, and no block waits to be freed; the tokens of
        the requests that ended since the last call, by name. Raises Refused if there is
        no end of it."""
        found: dict[str, list[int]] = self._driver.call("drain")
        return found

    def reset_prefix_cache(self, *, running: bool = False, connector: bool = False) -> bool:
        """As `POST /reset_prefix_cache` with reset_running_requests and reset_external."""
        return bool(self._driver.call("reset_prefix_cache", running=running, connector=connector))

    def steps(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[float]:
        """Seconds of each of vLLM's steps, from the first prompt to the last token."""
        found = self._driver.call("steps", prompts=[list(p) for p in prompts], tokens=max_tokens)
        return [float(seconds) for seconds in found]

    def preemptions(self) -> int:
        """How often a request lost its blocks since the start."""
        return self.counted("vllm:num_preemptions")

    def counted(self, metric: str) -> int:
        """The value of one of vLLM's counters."""
        return int(self._driver.call("counted", metric=metric))

    def free_blocks(self) -> int:
        """Blocks of vLLM's KV cache that nobody holds."""
        return int(self._driver.call("free_blocks"))

    def attention_inputs(self, prompt: Sequence[int]) -> AttentionInputs:
        """What the attention layers are given to keep of a prompt."""
        return AttentionInputs(**self._driver.call("attention_inputs", prompt=list(prompt)))

    def blocks(self, name: str) -> list[int]:
        """The blocks of a request that runs."""
        found: list[int] = self._driver.call("blocks", name=name)
        return found

    def living(self, kind: str) -> int:
        """How many objects of that class of ours are in vLLM's process."""
        return int(self._driver.call("living", kind=kind))
