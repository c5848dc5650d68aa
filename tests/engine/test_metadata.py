import json

from engine.config import EngineConfig
from engine.contract import Role
from engine.metadata import new_engine_id, scheduler_metadata, worker_metadata

NAMES = [
    "model_name",
    "role",
    "worker_id",
    "world_size",
    "kv_dtype",
    "kv_shape",
    "use_mla",
    "chunk_size",
    "fmt",
    "engine_id",
    "instance_id",
]


def test_worker_metadata__mha__describes_the_chunks() -> None:
    config = EngineConfig.load(flags={"lmcache_instance_id": "smollm2"})
    metadata = worker_metadata(config, 0, "e").as_dict()
    assert list(metadata) == NAMES
    assert metadata["kv_shape"] == [30, 2, 256, 3, 64]
    assert metadata["fmt"] == "KV_2LTD"
    assert metadata["role"] == "worker"
    assert metadata["worker_id"] == 0
    assert metadata["instance_id"] == "smollm2"
    assert json.loads(json.dumps(metadata)) == metadata


def test_worker_metadata__mla__has_one_vector_and_its_own_format() -> None:
    config = EngineConfig.load(flags={"use_mla": True, "num_kv_heads": 1})
    metadata = worker_metadata(config, 0, "e")
    assert metadata.kv_shape == (30, 1, 256, 1, 64)
    assert metadata.fmt == "KV_MLA_FMT"


def test_scheduler_metadata__has_no_worker_id() -> None:
    metadata = scheduler_metadata(EngineConfig.load(), "e")
    assert metadata.role is Role.SCHEDULER
    assert metadata.worker_id is None


def test_new_engine_id__twice__differs() -> None:
    assert new_engine_id() != new_engine_id()
