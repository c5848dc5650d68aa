"""Greedy output with the connector is the output without it, token for token, wherever
the KV comes from."""

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.vllm.conftest import (
    BLOCK,
    BORDERS,
    CHUNK,
    LENGTHS,
    SHARED,
    Cached,
    StartCached,
    tokens,
)
from tests.support.redis_server import running_redis
from tests.support.tiny_llama import write_model
from tests.support.vllm_driver import Driver, Generated, Refused
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
Plain = dict[str, Generated]
WAIT = 30.0
DISK = {"max_local_disk_size": 0.2}


def await_writes(cached: Cached) -> None:
    """Return once every tier has what was stored."""

    def is_idle() -> bool:
        storage = cached.worker.get("/agent/status").json()["storage"]
        return not any(tier.get("queued") for tier in storage.values())

    eventually(is_idle)


def chunk_files(directory: Path) -> set[Path]:
    return {p for p in directory.rglob("*") if p.is_file() and p.stat().st_size > 4096}


def reusable(length: int) -> int:
    """Tokens of a prompt of that length that a warm cache saves: whole stored chunks, in
    whole blocks, and never the last token."""
    whole = length - length % CHUNK
    return min(whole, (length - 1) - (length - 1) % BLOCK)


def test_generate__lengths_around_borders__cold_and_warm_as_without(
    start: StartCached, plain: Plain
) -> None:
    with start() as cached:
        cold = cached.engine.generate(BORDERS)
        assert cold.tokens == plain["borders"].tokens
        assert cold.cached == [0] * len(BORDERS)
        for _ in range(2):
            warm = cached.engine.generate(BORDERS)
            assert warm.tokens == plain["borders"].tokens
            assert warm.cached == [reusable(length) for length in LENGTHS]
        assert cached.chunks() == sum(length // CHUNK for length in LENGTHS)


def test_generate__shared_prefix__is_loaded_for_the_others(
    start: StartCached, plain: Plain
) -> None:
    with start() as cached:
        first = cached.engine.generate(SHARED[:1])
        rest = cached.engine.generate(SHARED[1:])
        assert [*first.tokens, *rest.tokens] == plain["shared"].tokens
        assert rest.cached == [128] * 7


def test_generate__same_prompt_right_after__waits_for_its_chunks(
    start: StartCached, plain: Plain
) -> None:
    prompt = BORDERS[-1]
    with start({"max_num_seqs": 1}) as cached:
        for _ in range(3):
            generated = cached.engine.generate([prompt] * 4, max_tokens=1)
            assert generated.cached[1:] == [reusable(len(prompt))] * 3
            cached.worker.delete("/cache/clear").raise_for_status()


@pytest.mark.parametrize("options", [{}, {"enable_prefix_caching": True}])
def test_generate__chunked_prefill_and_prefix_caching__as_without(
    start: StartCached, plain: Plain, options: dict[str, object]
) -> None:
    chunked = {"max_num_batched_tokens": 48, "max_num_seqs": 4, "enable_chunked_prefill": True}
    with start({**chunked, **options}) as cached:
        for _ in range(2):
            assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
            assert cached.engine.generate(BORDERS).tokens == plain["borders"].tokens


def test_generate__requests_are_preempted__as_without(start: StartCached, plain: Plain) -> None:
    # 40 blocks of 32 tokens, 2 layers of 16 KiB: eight requests need 88.
    options = {"kv_cache_memory_bytes": 40 * 2 * (16 << 10) * 2, "max_model_len": 512}
    with start(options) as cached:
        for _ in range(2):
            generated = cached.engine.generate(SHARED, max_tokens=150)
            assert generated.tokens == plain["long"].tokens
        assert cached.engine.preemptions() > 0


def test_generate__decoded_chunks_are_saved__a_longer_prompt_finds_them(
    start: StartCached, plain: Plain
) -> None:
    with start(save_decode_cache=True) as cached:
        first = cached.engine.generate(SHARED[:1], max_tokens=150)
        assert first.tokens == plain["long"].tokens[:1]
        conversation = [*SHARED[0], *first.tokens[0]]
        whole = (len(conversation) - 1) // CHUNK * CHUNK
        again = cached.engine.generate([[*conversation, 5, 6, 7]])
        assert again.cached == [whole]
        cached.worker.delete("/cache/clear").raise_for_status()
        assert cached.engine.generate([[*conversation, 5, 6, 7]]).tokens == again.tokens


def test_generate__decoded_chunks_are_not_saved__only_the_prompt_is(start: StartCached) -> None:
    with start() as cached:
        cached.engine.generate(SHARED[:1], max_tokens=150)
        assert cached.chunks() == len(SHARED[0]) // CHUNK


@pytest.mark.parametrize("tier", ["disk", "fs", "redis"])
def test_generate__a_slower_tier_answers__as_without(
    start: StartCached, plain: Plain, tmp_path: Path, tier: str
) -> None:
    with ExitStack() as opened:
        keys: dict[str, object] = {"remote_url": f"fs://{tmp_path}/shared"}
        if tier == "disk":
            keys = {"local_disk": str(tmp_path / "disk"), **DISK}
        if tier == "redis":
            keys = {
                "remote_url": f"redis://{opened.enter_context(running_redis(tmp_path)).address}"
            }
        cached = opened.enter_context(start(**keys, storage_queue_chunks=64))
        cached.engine.generate(BORDERS)
        await_writes(cached)
        cached.drop("LocalCPUBackend")
        warm = cached.engine.generate(BORDERS)
        assert warm.tokens == plain["borders"].tokens
        assert warm.cached == [reusable(length) for length in LENGTHS]


@pytest.mark.parametrize(
    "mode", [{"enable_async_loading": True}, {"enable_scheduler_bypass_lookup": True}]
)
def test_generate__other_lookup_clients__as_without(
    start: StartCached, plain: Plain, tmp_path: Path, mode: dict[str, object]
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), **DISK, "storage_queue_chunks": 64}
    with start(**mode, **disk) as cached:
        cached.engine.generate(BORDERS)
        await_writes(cached)
        cached.drop("LocalCPUBackend")
        warm = cached.engine.generate(BORDERS)
        assert warm.tokens == plain["borders"].tokens
        assert warm.cached == [reusable(length) for length in LENGTHS]


def test_generate__scheduler_asks_the_shared_store_itself__finds_what_workers_stored(
    start: StartCached, plain: Plain, tmp_path: Path
) -> None:
    # So that the worker lives in a process of its own.
    options = {"distributed_executor_backend": "mp"}
    keys = {"enable_scheduler_bypass_lookup": True, "remote_url": f"fs://{tmp_path}/shared"}
    with start(options, **keys, storage_queue_chunks=64) as cached:
        assert cached.engine.generate(SHARED[:1]).cached == [0]
        await_writes(cached)
        warm = cached.engine.generate(SHARED[:1])
        assert (warm.tokens, warm.cached) == (plain["shared"].tokens[:1], [192])


def test_stop__engine_in_the_same_process__keeps_no_memory(
    start: StartCached, driver: Driver, model: Path
) -> None:
    with start() as cached:
        assert cached.engine.living("MemoryPool") > 0
    with driver.engine(model, None) as engine:
        assert engine.living("MemoryPool") == 0


def test_generate__chunks_are_broken__are_computed_again(
    start: StartCached, plain: Plain, tmp_path: Path
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), **DISK, "storage_queue_chunks": 64}
    with start(**disk) as cached:
        stored: set[Path] = set()
        for prompts in (SHARED[:1], SHARED):
            good = stored
            cached.engine.generate(prompts)
            await_writes(cached)
            stored = chunk_files(tmp_path / "disk")
        cached.drop("LocalCPUBackend")
        for path in stored - good:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(bytes(content))
        for _ in range(2):
            assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
        counters = cached.counters()
        assert 0 < counters["retrieved_tokens"] < counters["requested_tokens"]


def test_generate__restarted__is_warm_from_disk(
    start: StartCached, plain: Plain, tmp_path: Path
) -> None:
    disk = {"local_disk": str(tmp_path / "disk"), **DISK, "storage_queue_chunks": 64}
    with start(**disk) as cached:
        cached.engine.generate(BORDERS)
    with start(**disk) as cached:
        warm = cached.engine.generate(BORDERS)
        assert warm.tokens == plain["borders"].tokens
        assert warm.cached == [reusable(length) for length in LENGTHS]


def test_generate__frozen__stores_nothing(start: StartCached, plain: Plain) -> None:
    with start() as cached:
        cached.worker.put("/freeze/enable").raise_for_status()
        assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
        assert cached.chunks() == 0
        cached.worker.put("/freeze/disable").raise_for_status()
        # vLLM's KV moves in whole blocks: what cannot take effect is refused.
        refused = cached.worker.post("/conf", json={"save_unfull_chunk": True}).json()
        assert refused["errors"] == {"save_unfull_chunk": "Config is not mutable at runtime"}
        cached.engine.generate(SHARED)
        assert cached.chunks() > 0


def test_generate__short_prefix__is_left_alone(start: StartCached) -> None:
    with start(min_retrieve_tokens=128) as cached:
        prompts = [tokens(1, 100), tokens(2, 200)]
        cached.engine.generate(prompts)
        assert cached.engine.generate(prompts).cached == [0, 192]


def test_generate__other_salt__finds_nothing(start: StartCached, plain: Plain) -> None:
    with start() as cached:
        cached.engine.generate(SHARED[:1])
        salted = cached.engine.generate(SHARED[:1], cache_salt="tenant")
        assert (salted.cached, salted.tokens) == ([0], plain["shared"].tokens[:1])
        assert cached.engine.generate(SHARED[:1], cache_salt="tenant").cached == [192]


def test_generate__log_probabilities_of_the_prompt__are_computed(start: StartCached) -> None:
    with start() as cached:
        cached.engine.generate(SHARED[:1])
        assert cached.engine.generate(SHARED[:1], prompt_logprobs=1).cached == [0]


def test_mock_calls__while_requests_run__change_no_token(start: StartCached, plain: Plain) -> None:
    with start({"enable_prefix_caching": True}) as cached:
        done = threading.Event()
        answers: list[int] = []

        def disturb() -> None:
            while not done.is_set():
                for verb in ("store", "retrieve"):
                    path = f"/cache/{verb}?tokens_mock=0,{4 * CHUNK}"
                    answers.append(cached.worker.post(path).status_code)

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            for _ in range(3):
                assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
                assert cached.engine.generate(BORDERS).tokens == plain["borders"].tokens
        finally:
            done.set()
            disturbing.join()
        assert set(answers) == {200}
        found = cached.worker.post(f"/cache/retrieve?tokens_mock=0,{4 * CHUNK}").json()
        assert found["num_retrieved"] == 4 * CHUNK
        query = cached.scheduler.post(f"/lookup/query?tokens_mock=0,{4 * CHUNK}").json()
        assert query["num_hit"] == 4 * CHUNK
        assert cached.engine.generate([list(range(4 * CHUNK))]).cached[0] == 0


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"chunk_size": 48}, "chunk_size"),
        ({"save_unfull_chunk": True}, "save_unfull_chunk"),
        ({"chunk_sice": 64}, "chunk_sice"),
    ],
)
def test_start__configuration_that_cannot_be__says_which_key(
    start: StartCached, keys: dict[str, object], named: str
) -> None:
    with pytest.raises(Refused, match=named), start(**keys):
        pass


def test_start__window_in_every_layer__refused_with_the_remedy(
    start: StartCached, tmp_path: Path
) -> None:
    model = write_model(
        tmp_path, architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=96
    )
    with (
        pytest.raises(Refused, match=r"SlidingWindowSpec.*Start vLLM without kv_transfer_config"),
        start(model=model),
    ):
        pass


def test_generate__window_in_some_layers__as_without(
    start: StartCached, driver: Driver, tmp_path: Path
) -> None:
    layers = ["sliding_attention", "full_attention"]
    model = write_model(tmp_path, sliding_window=96, layer_types=layers)
    with driver.engine(model, None) as engine:
        without = engine.generate(SHARED).tokens
    with start(model=model) as cached:
        assert cached.engine.generate(SHARED).tokens == without
        warm = cached.engine.generate(SHARED)
    assert (warm.tokens, min(warm.cached)) == (without, 192)


@pytest.mark.slow
def test_generate__two_ranks__both_answer_or_it_is_computed(start: StartCached) -> None:
    options = {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}
    with start(options) as cached:
        cold = cached.engine.generate(SHARED)
        warm = cached.engine.generate(SHARED)
        assert (warm.tokens, min(warm.cached)) == (cold.tokens, 192)
        for rank, worker in enumerate((cached.worker, cached.second_worker)):
            meta = worker.get("/meta").json()
            assert (meta["worker_id"], meta["world_size"]) == (rank, 2)
            assert meta["kv_shape"] == [2, 2, CHUNK, 1, 32]
        cached.second_worker.delete("/cache/clear").raise_for_status()
        assert cached.engine.generate(SHARED[:1]) == Generated(cold.tokens[:1], [0])
        assert cached.engine.generate(SHARED[:1]) == Generated(cold.tokens[:1], [192])


def test_generate__control_plane_is_down__as_without(start: StartCached, plain: Plain) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with start(controlplane_url=url, enrolment_token="enrol") as cached:
        assert cached.engine.generate(SHARED).tokens == plain["shared"].tokens
        assert cached.engine.generate(SHARED).cached == [192] * 8


def test_agents__inside_vllm__tell_the_real_thing(start: StartCached, model: Path) -> None:
    with start() as cached:
        info = cached.worker.get("/inference_info").json()
        assert info["vllm_config"]["model"] == str(model)
        assert (
            info["vllm_version"]
            == cached.scheduler.get("/inference_version").json()["vllm_version"]
        )
        meta = cached.worker.get("/meta").json()
        assert (meta["kv_dtype"], meta["worker_id"]) == ("float32", 0)
        assert meta["kv_shape"] == [2, 2, CHUNK, 2, 32]
        layers = cached.worker.get("/cache/kvcache/info").json()["layers"]
        assert len(layers) == 2
        assert cached.scheduler.get("/lookup/info").json()["client"] == "LMCacheLookupClient"
        assert cached.worker.get("/freeze/status").json()["freeze"] is False
        assert cached.scheduler.get("/freeze/status").status_code == 503


def test_statistics__prompts_of_vllm__are_counted(start: StartCached) -> None:
    keys = {"enable_chunk_statistics": True, "chunk_statistics_auto_start_statistics": True}
    with start(**keys) as cached:
        cached.engine.generate(SHARED)
        cached.engine.generate(SHARED)
        status = cached.scheduler.get("/chunk_statistics/status").json()
        chunks = sum(len(prompt) // CHUNK for prompt in SHARED)
        assert (status["total_requests"], status["total_chunks"]) == (16, 2 * chunks)
        assert status["unique_chunks"] == len(
            {tuple(p[: CHUNK * (n + 1)]) for p in SHARED for n in range(len(p) // CHUNK)}
        )


def test_driver__without_the_connector__has_no_cache(driver: Driver, model: Path) -> None:
    with driver.engine(model, None) as engine:
        engine.generate(SHARED[:1])
        assert engine.generate(SHARED[:1]).cached == [0]
