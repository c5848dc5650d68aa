"""A scheduler's lookup of a long prompt: from tokens, over the socket, and back; and
what chunk statistics add to it."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx

from benchmarks.report import Result
from benchmarks.stack import AGENT_TOKEN, agent_process
from engine.config import EngineConfig
from engine.lookup import LocalWorkers, LookupClients
from engine.metadata import scheduler_metadata
from engine.tokens import as_token_array, chunk_hashes, root_hash
from tests.support.processes import free_ports

CHUNKS = 1000
CHUNK_SIZE = 256
NUM_TOKENS = CHUNKS * CHUNK_SIZE
BLOCKS = 40
LOOKUPS_IN_A_BLOCK = 10
SHAPE = {
    "num_layers": 1,
    "num_kv_heads": 1,
    "head_size": 8,
    "kv_dtype": "float16",
    "use_mla": True,
    "block_size": 256,
    "num_blocks": CHUNKS,
    "max_local_cpu_size": 0.1,
    "chunk_size": CHUNK_SIZE,
}


def measure() -> Iterator[Result]:
    """A thousand chunks that a worker in another process has in memory."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_ports(2)
        settings = {f"KVPLANE_{name.upper()}": str(value) for name, value in SHAPE.items()}
        with agent_process(Path(directory), port, **settings) as url:
            stored = httpx.post(
                f"{url}/cache/store",
                params={"tokens_mock": f"0,{NUM_TOKENS}"},
                headers={"Authorization": f"Bearer {AGENT_TOKEN}"},
                timeout=60,
            ).json()
            if stored["num_stored"] != NUM_TOKENS:
                raise RuntimeError(f"not stored: {stored}")
            plain = _clients(port, counting=False)
            counting = _clients(port, counting=True)
            yield from _compare(plain, counting)
            plain.shut_down()
            counting.shut_down()


def _clients(port_start: int, *, counting: bool) -> LookupClients:
    config = EngineConfig.load(
        flags={
            **SHAPE,
            "lmcache_instance_id": "bench",
            "internal_api_server_port_start": port_start,
            "enable_chunk_statistics": counting,
            "chunk_statistics_auto_start_statistics": counting,
        }
    )
    clients = LookupClients(config, scheduler_metadata(config, "bench"), LocalWorkers())
    clients.create()
    return clients


def _compare(plain: LookupClients, counting: LookupClients) -> Iterator[Result]:
    tokens = list(range(NUM_TOKENS))
    root = root_hash("benchmark", CHUNK_SIZE)
    seconds: list[float] = []
    hashing: list[float] = []
    ratios: list[float] = []
    for block in range(BLOCKS):
        both = {}
        # In turn, the one or the other first.
        order = (plain, counting) if block % 2 else (counting, plain)
        for clients in order:
            taken = [_lookup(clients, tokens, f"{block}-{n}") for n in range(LOOKUPS_IN_A_BLOCK)]
            both[clients] = sum(taken)
            if clients is plain:
                seconds.extend(taken)
        ratios.append(both[counting] / both[plain])
        started = time.perf_counter()
        chunk_hashes(root, as_token_array(tokens), CHUNK_SIZE)
        hashing.append(time.perf_counter() - started)
    counting.statistics.flush(30)
    status = counting.statistics.status()
    if status["total_chunks"] + CHUNKS * status["dropped_requests"] < CHUNKS * BLOCKS:
        raise RuntimeError(f"not counted: {status}")
    print(
        f"  {CHUNKS} chunks found in {median(seconds) * 1000:.2f} ms, "
        f"of that {median(hashing) * 1000:.2f} ms hashing {NUM_TOKENS} tokens; counting takes "
        f"{1e6 * status['counting_seconds'] / BLOCKS / LOOKUPS_IN_A_BLOCK:.0f} us of a thread, "
        f"{1e6 * status['lookup_overhead_seconds'] / BLOCKS / LOOKUPS_IN_A_BLOCK:.1f} us of the "
        "lookup"
    )
    yield Result(
        "lookup of 1,000 chunks from tokens over the socket, ms, p50",
        median(seconds) * 1000,
        5.0,
        higher_is_better=False,
    )
    yield Result(
        "lookup while chunks are counted / lookup", median(ratios), 1.05, higher_is_better=False
    )


def _lookup(clients: LookupClients, tokens: list[int], request_id: str) -> float:
    started = time.perf_counter()
    found = clients.lookup(tokens, request_id)
    taken = time.perf_counter() - started
    if found != NUM_TOKENS:
        raise RuntimeError(f"found {found} tokens")
    clients.forget(request_id)
    return taken
