"""What the connector saves, and what it costs where it saves nothing: SmolLM2-135M in
vLLM on this machine."""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.report import Result
from tests.support.processes import free_ports
from tests.support.smollm2 import MODEL, prepare
from tests.support.vllm_driver import Driver, Engine

VOCABULARY = 49_000
DOCUMENT_TOKENS = 4_000
WARM_ROUNDS = 5
PAIRS = 12
BATCH = 4
PROMPT_TOKENS = 300
OUTPUT_TOKENS = 24
CHUNK_SIZE = 32
"""What is left of a prompt after its last whole chunk is computed: on a CPU, where a
token takes milliseconds, small chunks pay."""
BLOCK_SIZE = 32
OPTIONS: dict[str, object] = {
    "block_size": BLOCK_SIZE,
    "max_model_len": 4_352,
    "kv_cache_memory_bytes": 500 << 20,
}


def measure() -> Iterator[Result]:
    """A document of 4,000 tokens with several questions, and requests without reuse."""
    model = prepare(MODEL)
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        plain = start_engine(opened, model, Path(name) / "plain", None)
        keys = {
            "internal_api_server_port_start": free_ports(2),
            "max_local_cpu_size": 2.0,
            "chunk_size": CHUNK_SIZE,
        }
        cached = start_engine(opened, model, Path(name) / "cached", keys)
        yield from _compare_first_tokens(cached)
        yield from _compare_throughput(plain, cached)


def start_engine(
    opened: ExitStack, model: Path, directory: Path, keys: dict[str, object] | None
) -> Engine:
    """vLLM in a process of its own, until `opened` closes; without the connector if
    `keys` is None."""
    directory.mkdir()
    driver = Driver(directory, directory / "vllm.log")
    opened.callback(driver.close)
    return opened.enter_context(driver.engine(model, keys, **OPTIONS))


def prompt_of(length: int) -> list[int]:
    """Random tokens, which nothing has been computed of."""
    return [random.randrange(10, VOCABULARY) for _ in range(length)]


def _compare_first_tokens(cached: Engine) -> Iterator[Result]:
    document = prompt_of(DOCUMENT_TOKENS)
    cached.generate([prompt_of(64)], max_tokens=1)
    cold = _first_token(cached, document)
    warm = median(_first_token(cached, document) for _ in range(WARM_ROUNDS))
    print(f"  first token after {DOCUMENT_TOKENS} tokens: cold {cold:.2f} s, warm {warm:.3f} s")
    yield Result("time to first token, cold / warm", cold / warm, 50.0, higher_is_better=True)


def _first_token(engine: Engine, document: list[int]) -> float:
    """Seconds until the first token of the answer to a new question."""
    question = prompt_of(20)
    started = time.perf_counter()
    engine.generate([[*document, *question]], max_tokens=1)
    return time.perf_counter() - started


def _compare_throughput(plain: Engine, cached: Engine) -> Iterator[Result]:
    ratios = []
    for pair in range(PAIRS):
        prompts = [prompt_of(PROMPT_TOKENS) for _ in range(BATCH)]
        engines = (plain, cached) if pair % 2 else (cached, plain)
        seconds = {engine: seconds_of(engine, prompts, OUTPUT_TOKENS) for engine in engines}
        ratios.append(seconds[plain] / seconds[cached])
    yield Result(
        "throughput without reuse, with the connector / without",
        median(ratios),
        0.97,
        higher_is_better=True,
    )


def seconds_of(engine: Engine, prompts: list[list[int]], max_tokens: int) -> float:
    """Seconds to answer all of them."""
    started = time.perf_counter()
    engine.generate(prompts, max_tokens=max_tokens)
    return time.perf_counter() - started
