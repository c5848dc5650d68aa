"""`GET /cache/kvcache/check` against MD5 over the same bytes on every processor,
and how long other endpoints wait meanwhile."""

import hashlib
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.report import Result
from benchmarks.responsiveness import MOVES_BYTES, address, call, timed
from benchmarks.stack import agent_process
from benchmarks.transfer import SHAPE
from engine.contract import CATALOGUE, Component
from tests.support.processes import free_ports

NUM_SLOTS = 4_096
SLOT_BYTES = 128 << 10
CHUNK_SIZE = 256
ROUNDS = 7
TIMES_HASHED = {"float16": 1, "bfloat16": 2}
"""By dtype the bytes that are hashed for one byte of KV: bfloat16 goes as float32."""
CHECK = f"/cache/kvcache/check?slot_mapping=[0,{NUM_SLOTS - 1}]&chunk_size={CHUNK_SIZE}"
WAITS_FOR_CHECKS = ("check_kvcache",)


def measure() -> Iterator[Result]:
    """Both in turn, so that a machine that slows down slows both."""
    content = np.random.default_rng(7).integers(0, 256, NUM_SLOTS * SLOT_BYTES, dtype=np.uint8)
    for dtype, times in TIMES_HASHED.items():
        settings = {
            f"KVPLANE_{name.upper()}": str(value)
            for name, value in {
                **SHAPE,
                "kv_dtype": dtype,
                "num_blocks": NUM_SLOTS // 16,
                "max_local_cpu_size": 0.1,
            }.items()
        }
        with (
            tempfile.TemporaryDirectory() as directory,
            agent_process(Path(directory), free_ports(2), **settings) as url,
        ):
            yield _speed(url, dtype, content, times)
            yield _wait(url, dtype)


def _speed(url: str, dtype: str, content: npt.NDArray[np.uint8], times: int) -> Result:
    connection = http.client.HTTPConnection(*address(url))
    rounds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        plain = _seconds(lambda: _hash_on_every_processor(content, times))
        checked = _seconds(lambda: _check(connection))
        rounds.append((plain, checked))
    hashed = times * content.nbytes / 1e9
    print(
        f"  {dtype}: {hashed / median(plain for plain, _ in rounds):.2f} GB/s of plain MD5 on "
        f"{os.cpu_count()} processors, {hashed / median(checked for _, checked in rounds):.2f} "
        "GB/s in the check"
    )
    return Result(
        f"check of {NUM_SLOTS} slots, {dtype} / MD5 on every processor (speed)",
        median(plain / checked for plain, checked in rounds),
        0.7,
        higher_is_better=True,
    )


def _hash_on_every_processor(content: npt.NDArray[np.uint8], times: int) -> None:
    num_threads = os.cpu_count() or 1

    def digest(part: npt.NDArray[np.uint8]) -> str:
        md5 = hashlib.md5(usedforsecurity=False)
        for _ in range(times):
            md5.update(part.data)
        return md5.hexdigest()

    with ThreadPoolExecutor(num_threads) as threads:
        list(threads.map(digest, np.array_split(content, num_threads)))


def _wait(url: str, dtype: str) -> Result:
    """Ask every other endpoint in turn, over and over, while checks run; beside it
    as many calls while none does, which show what the machine itself adds."""
    asker = http.client.HTTPConnection(*address(url))
    checker = http.client.HTTPConnection(*address(url))
    latencies: list[tuple[float, str]] = []
    alone: list[tuple[float, str]] = []
    for _ in range(ROUNDS):
        thread = threading.Thread(target=_check, args=(checker,))
        thread.start()
        while thread.is_alive():
            latencies += _one_turn(asker, thread.is_alive)
        while len(alone) < len(latencies):
            alone += _one_turn(asker, lambda: True)
    for when, found in (("without a check", alone), (f"during {ROUNDS} checks", latencies)):
        found.sort()
        worst_seconds, worst_path = found[-1]
        p99 = found[int(len(found) * 0.99)][0]
        print(
            f"  {len(found)} calls {when}: p99 {p99 * 1000:.1f} ms, "
            f"worst {worst_seconds * 1000:.1f} ms ({worst_path})"
        )
    return Result(
        f"slowest answer of another endpoint during a check, {dtype}, in ms",
        latencies[-1][0] * 1000,
        20,
        higher_is_better=False,
    )


def _one_turn(
    asker: http.client.HTTPConnection, running: Callable[[], bool]
) -> list[tuple[float, str]]:
    """Seconds and path of one call to each other endpoint."""
    return [
        latency
        for entry in CATALOGUE
        if entry.operation_id not in (*MOVES_BYTES, *WAITS_FOR_CHECKS)
        and entry.component is not Component.VLLM
        for latency in timed(asker, entry, running)
    ]


def _check(connection: http.client.HTTPConnection) -> None:
    document = json.loads(call(connection, "GET", CHECK))
    if document["num_chunks"] != NUM_SLOTS // CHUNK_SIZE:
        raise RuntimeError(f"The check covered {document['num_chunks']} chunks.")


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
