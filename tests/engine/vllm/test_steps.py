"""Requests that fail to load, are aborted, preempted or reset between two steps: never a
wrong token, and nothing is left behind."""

from pathlib import Path

import pytest

from tests.engine.vllm.conftest import CHUNK, SHARED, Cached, StartCached
from tests.engine.vllm.test_reuse import Plain, await_writes, chunk_files
from tests.support.vllm_driver import Generated

pytestmark = pytest.mark.slow
STEPS = pytest.mark.parametrize(
    "options", [{}, {"overlapping": True}], ids=["one-by-one", "overlapping"]
)
"""vLLM plans a step when the one before is done, or while it runs."""


def break_chunks(directory: Path) -> None:
    for path in chunk_files(directory):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))


def forget_memory(cached: Cached) -> None:
    """Leave chunks on disk alone."""
    await_writes(cached)
    cached.drop("LocalCPUBackend")
    assert cached.engine.reset_prefix_cache()


def assert_nothing_is_left(cached: Cached, free_blocks: int) -> None:
    """Every block of vLLM's is free again, and no request is remembered."""
    cached.engine.drain()
    assert cached.engine.free_blocks() == free_blocks
    for kind in ("TrackedRequest", "LoadPlan", "_Saves"):
        assert cached.engine.living(kind) == 0


@STEPS
@pytest.mark.parametrize(
    "more",
    [{}, {"enable_prefix_caching": True}, {"max_num_batched_tokens": 48, "max_num_seqs": 4}],
    ids=["plain", "prefix-caching", "chunked"],
)
def test_generate__loads_fail__as_without(
    start: StartCached,
    plain: Plain,
    tmp_path: Path,
    options: dict[str, object],
    more: dict[str, object],
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.2}
    with start({**options, **more}, **disk, storage_queue_chunks=64) as cached:
        free_blocks = cached.engine.free_blocks()
        assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
        cached.engine.drain()
        forget_memory(cached)
        break_chunks(tmp_path / "disk")
        assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
        counters = cached.counters()
        assert counters["retrieved_tokens"] < counters["requested_tokens"]
        # What was computed instead is good.
        warm = cached.engine.generate(SHARED)
        assert warm.tokens == plain["shared"].tokens
        assert_nothing_is_left(cached, free_blocks)


def test_reset__running_requests_start_anew__as_without(start: StartCached, plain: Plain) -> None:
    with start({"enable_prefix_caching": True}) as cached:
        free_blocks = cached.engine.free_blocks()
        cached.engine.generate(SHARED)
        for number, prompt in enumerate(SHARED):
            cached.engine.add(str(number), prompt, max_tokens=150)
        for steps in (3, 20, 45):
            cached.engine.step(steps)
            assert cached.engine.reset_prefix_cache(running=True)
        generated = cached.engine.drain()
        assert [generated[str(n)] for n in range(len(SHARED))] == plain["long"].tokens
        assert_nothing_is_left(cached, free_blocks)


@STEPS
def test_abort__at_any_step__leaves_nothing_behind(
    start: StartCached, plain: Plain, tmp_path: Path, options: dict[str, object]
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.2}
    more = {"max_num_batched_tokens": 96, "max_num_seqs": 4}
    with start(
        {**options, **more}, **disk, enable_async_loading=True, save_decode_cache=True
    ) as cached:
        free_blocks = cached.engine.free_blocks()
        for steps in range(12):
            for number, prompt in enumerate(SHARED):
                cached.engine.add(f"{steps}-{number}", prompt, max_tokens=40)
            cached.engine.step(steps)
            cached.engine.abort(*(f"{steps}-{n}" for n in range(0, len(SHARED), 2)))
            generated = cached.engine.drain()
            for number in range(1, len(SHARED), 2):
                expected = plain["long"].tokens[number][:40]
                assert generated[f"{steps}-{number}"] == expected
        assert_nothing_is_left(cached, free_blocks)


def test_reset__of_the_connector__nothing_from_before_is_found(
    start: StartCached, plain: Plain, tmp_path: Path
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.2}
    with start({"enable_prefix_caching": True}, **disk) as cached:
        cached.engine.generate(SHARED)
        await_writes(cached)
        cached.worker.put("/bypass/add?backend_name=LocalDiskBackend").raise_for_status()
        assert cached.engine.reset_prefix_cache(connector=True)
        cached.engine.drain()
        assert cached.chunks("LocalCPUBackend") == cached.chunks("LocalDiskBackend") == 0
        again = cached.engine.generate(SHARED[:1])
        assert again == Generated(plain["shared"].tokens[:1], [0])
        assert cached.engine.reset_prefix_cache()
        assert cached.engine.generate(SHARED[:1]).cached == [192]


def test_reset__of_the_connector_while_requests_run__they_store_no_more(
    start: StartCached, plain: Plain
) -> None:
    with start(save_decode_cache=True) as cached:
        cached.engine.add("runs", SHARED[0], max_tokens=150)
        cached.engine.step(10)
        assert not cached.engine.reset_prefix_cache(connector=True)
        assert cached.engine.drain()["runs"] == plain["long"].tokens[0]
        assert cached.chunks() == 0
        cached.engine.generate(SHARED[:1])
        assert cached.chunks() == len(SHARED[0]) // CHUNK
