"""What a cache engine is built from, and keys of its configuration whose change applies now."""

import pytest
import torch

from engine.cache import CacheEngine, Phase
from engine.config import ConfigError, EngineConfig
from engine.metadata import worker_metadata

from .caching import EVERYTHING, BuildEngine, head


def test_config__save_unfull_chunk_changes__next_calls_follow(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    assert engine.store(range(12), head(12), "r").num_stored == 8
    engine.config.update({"save_unfull_chunk": True})
    assert engine.store(range(12), head(12), "r").num_stored == 4
    assert engine.retrieve(range(12), head(12), "r").num_retrieved == 12
    engine.config.update({"save_unfull_chunk": False})
    assert engine.retrieve(range(12), head(12), "r").num_retrieved == 8


def test_config__min_retrieve_tokens_changes__next_retrieve_follows(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    engine.store(range(16), head(16), "r")
    engine.config.update({"min_retrieve_tokens": 17})
    engine.kv_cache.fill_random(seed=2)
    before = engine.checksums(EVERYTHING, 64)
    assert engine.retrieve(range(32), head(32), "r") == (32, 0)
    assert engine.checksums(EVERYTHING, 64) == before
    engine.config.update({"min_retrieve_tokens": 16})
    assert engine.retrieve(range(32), head(32), "r") == (32, 16)


def test_config__save_decode_cache_changes__next_decode_store_follows(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    assert engine.store(range(8), head(8), "r", Phase.DECODE) == (8, 0)
    engine.config.update({"save_decode_cache": True})
    assert engine.store(range(8), head(8), "r", Phase.DECODE) == (8, 8)


def test_build__local_cpu_is_false__starts_with_the_hot_cache_off(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine(local_cpu=False)
    assert not engine.hot_cache_enabled
    assert engine.store(range(8), head(8), "r").num_stored == 0


def test_build__memory_below_one_chunk__names_the_key(build_engine: BuildEngine) -> None:
    with pytest.raises(ConfigError, match="max_local_cpu_size"):
        build_engine(chunks=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_build__cuda_is_absent__names_the_key(build_engine: BuildEngine) -> None:
    with pytest.raises(ConfigError, match="'device' is cuda"):
        build_engine(device="cuda")


def test_build__kv_cache_larger_than_any_memory__is_refused_naming_the_key() -> None:
    config = EngineConfig.load(
        flags={"num_blocks": 1 << 31, "num_kv_heads": 4096, "head_size": 65536, "device": "cpu"}
    )
    with pytest.raises(ConfigError, match="num_blocks"):
        CacheEngine.build(config, worker_metadata(config, 0, "engine"))


def test_build__chunks_larger_than_any_memory__is_refused_naming_the_key(
    build_engine: BuildEngine,
) -> None:
    with pytest.raises(ConfigError, match="max_local_cpu_size"):
        build_engine(chunks=300_000_000_000)
