"""What the agent inside vLLM costs: while nobody calls it, and while somebody has every
slot of the KV cache checked. SmolLM2-135M on this machine."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx

from benchmarks.report import Result
from benchmarks.vllm_reuse import BLOCK_SIZE, prompt_of, seconds_of, start_engine
from tests.support.processes import free_ports
from tests.support.smollm2 import MODEL, prepare
from tests.support.vllm_driver import Engine

PAIRS = 12
BATCH = 4
PROMPT_TOKENS = 100
OUTPUT_TOKENS = 64
ROUNDS = 4
CHECK_SECONDS = 600.0


def measure() -> Iterator[Result]:
    """Two engines, one of which serves its agents; then checks during generation."""
    model = prepare(MODEL)
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        port = free_ports(2)
        keys = {"internal_api_server_port_start": port, "max_local_cpu_size": 1.0}
        silent = {**keys, "internal_api_server_enabled": False}
        without = start_engine(opened, model, Path(name) / "without", silent)
        served = start_engine(opened, model, Path(name) / "served", keys)
        yield _compare_idle(without, served)
        yield from _compare_checked(served, f"http://127.0.0.1:{port + 1}")


def _compare_idle(without: Engine, served: Engine) -> Result:
    ratios = []
    for pair in range(PAIRS):
        prompts = [prompt_of(PROMPT_TOKENS) for _ in range(BATCH)]
        engines = (without, served) if pair % 2 else (served, without)
        seconds = {engine: seconds_of(engine, prompts, OUTPUT_TOKENS) for engine in engines}
        ratios.append(seconds[without] / seconds[served])
    return Result("throughput, idle agent / none", median(ratios), 0.97, higher_is_better=True)


def _compare_checked(engine: Engine, worker: str) -> Iterator[Result]:
    quiet, checked = [], []
    for _ in range(ROUNDS):
        quiet += _decode_steps(engine)
        with _checking(worker) as checks:
            checked += _decode_steps(engine)
        if not checks:
            raise RuntimeError("No check ended during the generation.")
        print(f"  {len(checks)} checks of {checks[0]} slots during {OUTPUT_TOKENS} steps")
    usual = median(quiet)
    print(
        f"  step of {BATCH} sequences: {usual * 1e3:.1f} ms, longest {max(quiet) * 1e3:.1f} ms; "
        f"while checked {median(checked) * 1e3:.1f} ms, longest {max(checked) * 1e3:.1f} ms"
    )
    yield Result(
        "step while every slot is checked / step",
        median(checked) / usual,
        2.0,
        higher_is_better=False,
    )
    yield Result(
        "longest such step / longest step", max(checked) / max(quiet), 3.0, higher_is_better=False
    )


def _decode_steps(engine: Engine) -> list[float]:
    """Seconds of the steps after the prompts were computed."""
    prompts = [prompt_of(PROMPT_TOKENS) for _ in range(BATCH)]
    return engine.steps(prompts, OUTPUT_TOKENS)[2:]


@contextmanager
def _checking(worker: str) -> Iterator[list[int]]:
    """Has every slot checked, again and again; the number of slots of each check that
    ended."""
    done = threading.Event()
    checks: list[int] = []
    with httpx.Client(base_url=worker, trust_env=False, timeout=CHECK_SECONDS) as client:
        layers = client.get("/cache/kvcache/info").json()["layers"].values()
        slots = next(iter(layers))["shape"][0] * BLOCK_SIZE

        def check() -> None:
            parameters = {"slot_mapping": f"[0,{slots - 1}]", "chunk_size": 256}
            while not done.is_set():
                client.get("/cache/kvcache/check", params=parameters).raise_for_status()
                checks.append(slots)

        checking = threading.Thread(target=check)
        checking.start()
        try:
            yield checks
        finally:
            done.set()
            checking.join()
