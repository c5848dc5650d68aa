"""What an engine caches for: model, worker, and the type and shape of its KV."""

import secrets
from dataclasses import dataclass, fields
from typing import Protocol

from engine.contract import Role

FORMAT_MHA = "KV_2LTD"
"""A chunk is [2 (K, V), layers, tokens, heads * head_size]."""
FORMAT_MLA = "KV_MLA_FMT"
"""A chunk is [layers, tokens, head_size]."""


class KVSettings(Protocol):
    """The part of a configuration that metadata are made of."""

    @property
    def model_name(self) -> str: ...
    @property
    def world_size(self) -> int: ...
    @property
    def kv_dtype(self) -> str: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def use_mla(self) -> bool: ...
    @property
    def chunk_size(self) -> int: ...
    @property
    def lmcache_instance_id(self) -> str: ...


def new_engine_id() -> str:
    """A random id, 32 hexadecimal digits; different at every start."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class EngineMetadata:
    """What `GET /meta` answers, in this order.

    `worker_id` is None on a scheduler. `kv_dtype` is torch's name of the element
    type without "torch.". `kv_shape` is (layers, 2 or 1 with MLA, chunk_size,
    heads, head_size). `engine_id` tells two starts apart, `instance_id` does not.
    """

    model_name: str
    role: Role
    worker_id: int | None
    world_size: int
    kv_dtype: str
    kv_shape: tuple[int, int, int, int, int]
    use_mla: bool
    chunk_size: int
    fmt: str
    engine_id: str
    instance_id: str

    def as_dict(self) -> dict[str, object]:
        """The attributes by name, JSON-ready."""
        values: dict[str, object] = {
            field.name: getattr(self, field.name) for field in fields(self)
        }
        values["role"] = self.role.value
        values["kv_shape"] = list(self.kv_shape)
        return values


def scheduler_metadata(settings: KVSettings, engine_id: str) -> EngineMetadata:
    """The metadata of an engine's scheduler."""
    return _describe(settings, Role.SCHEDULER, None, engine_id)


def worker_metadata(settings: KVSettings, worker_id: int, engine_id: str) -> EngineMetadata:
    """The metadata of one worker of an engine."""
    return _describe(settings, Role.WORKER, worker_id, engine_id)


def _describe(
    settings: KVSettings, role: Role, worker_id: int | None, engine_id: str
) -> EngineMetadata:
    return EngineMetadata(
        model_name=settings.model_name,
        role=role,
        worker_id=worker_id,
        world_size=settings.world_size,
        kv_dtype=settings.kv_dtype,
        kv_shape=(
            settings.num_layers,
            1 if settings.use_mla else 2,
            settings.chunk_size,
            settings.num_kv_heads,
            settings.head_size,
        ),
        use_mla=settings.use_mla,
        chunk_size=settings.chunk_size,
        fmt=FORMAT_MLA if settings.use_mla else FORMAT_MHA,
        engine_id=engine_id,
        instance_id=settings.lmcache_instance_id,
    )
