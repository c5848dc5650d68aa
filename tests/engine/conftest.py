"""Small engines whose every byte a test can look at."""

from collections.abc import Callable

import pytest

from engine.cache import CacheEngine
from engine.config import EngineConfig
from engine.device.configured import spec_of
from engine.metadata import worker_metadata
from engine.storage import slot_stride

BuildEngine = Callable[..., CacheEngine]


@pytest.fixture
def build_engine() -> BuildEngine:
    """Builds an engine: 3 layers, 2 KV heads of 8, blocks of 4, chunks of 8, 64 slots,
    room for `chunks` chunks; other keys as given."""

    def build(chunks: int = 16, **keys: object) -> CacheEngine:
        shape: dict[str, object] = {
            "chunk_size": 8,
            "num_layers": 3,
            "num_kv_heads": 2,
            "head_size": 8,
            "kv_dtype": "float32",
            "block_size": 4,
            "num_blocks": 16,
            "device": "cpu",
            **keys,
        }
        sized = EngineConfig.load(flags=shape)
        slot_bytes = slot_stride(sized.chunk_size * spec_of(sized).bytes_per_token)
        shape["max_local_cpu_size"] = (chunks + 0.5) * slot_bytes / (1 << 30)
        config = EngineConfig.load(flags=shape)
        engine = CacheEngine.build(config, worker_metadata(config, 0, "engine"))
        engine.kv_cache.fill_random(seed=1)
        return engine

    return build
