"""Storage as a configuration describes it."""

from pathlib import Path

import torch

from engine.config import ConfigError, EngineConfig
from engine.config.checks import hide_credentials, split_directories
from engine.storage.backend import SlowBackend
from engine.storage.connectors import ConnectorContext, InvalidRemoteURL, open_connector
from engine.storage.format import ChunkLayout
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.local_disk import (
    DirectIO,
    DirectoryInUse,
    DiskSettings,
    FsyncPolicy,
    LocalDiskBackend,
)
from engine.storage.manager import StorageManager
from engine.storage.memory import HostMemory, MemoryUnavailable, Pages
from engine.storage.pinning import pinning_for
from engine.storage.policy import POLICIES
from engine.storage.pool import GrowingPool, MemoryPool, slot_stride
from engine.storage.remote import RemoteBackend
from engine.storage.staging import StagingArea

_GIB = 1 << 30
_MOST_STAGING_SLOTS = 16


def build_storage(
    config: EngineConfig, layout: ChunkLayout, device: torch.device
) -> StorageManager:
    """All tiers for chunks of that layout. Raises ConfigError naming the key."""
    slot_bytes = layout.chunk_bytes(config.chunk_size)
    num_slots = int(config.max_local_cpu_size * _GIB) // slot_stride(slot_bytes)
    has_slow = config.local_disk is not None or config.remote_url is not None
    num_staging = max(1, min(_MOST_STAGING_SLOTS, num_slots // 8)) if has_slow else 0
    if num_slots - num_staging < 1:
        needed = (1 + num_staging) * slot_stride(slot_bytes) / _GIB
        raise ConfigError(
            f"'max_local_cpu_size' is {config.max_local_cpu_size} GiB, but at least "
            f"{needed:.6f} GiB are needed: one chunk takes {slot_bytes / _GIB:.6f} GiB"
            f"{' and another is needed for the slower tiers' if has_slow else ''}; "
            "raise it or lower 'chunk_size'."
        )
    local_cpu = LocalCPUBackend(
        _hot_pool(config, slot_bytes, num_slots - num_staging, device),
        layout.spec,
        POLICIES[config.cache_policy](),
    )
    if not config.local_cpu:
        local_cpu.disable_hot_cache()
    staging = StagingArea(_staging_pool(config, slot_bytes, num_staging, device), layout.spec)
    slow: list[SlowBackend] = []
    queue_chunks = min(config.storage_queue_chunks, max(1, num_slots // 4))
    try:
        if config.local_disk is not None:
            slow.append(_local_disk(config, layout, queue_chunks))
        if config.remote_url is not None:
            slow.append(build_remote(config, layout, queue_chunks))
    except ConfigError:
        for backend in slow:
            backend.close()
        raise
    return StorageManager(local_cpu, staging, slow, config)


def _hot_pool(
    config: EngineConfig, slot_bytes: int, num_slots: int, device: torch.device
) -> MemoryPool:
    size = num_slots * slot_stride(slot_bytes)
    memory = _memory(config, size, slot_stride(slot_bytes), device)
    if not config.enable_lazy_memory_allocator:
        _grow(memory, size)
        return MemoryPool(memory.bytes, slot_bytes, num_slots)
    _grow(memory, max(slot_stride(slot_bytes), int(size * config.lazy_memory_initial_ratio)))
    return GrowingPool(
        memory,
        slot_bytes,
        num_slots,
        trigger=lambda: config.lazy_memory_expand_trigger_ratio,
        step=lambda: config.lazy_memory_step_ratio,
    )


def _staging_pool(
    config: EngineConfig, slot_bytes: int, num_slots: int, device: torch.device
) -> MemoryPool:
    if num_slots == 0:
        return MemoryPool(torch.empty(0, dtype=torch.uint8), slot_bytes, 0)
    size = num_slots * slot_stride(slot_bytes)
    memory = _memory(config, size, slot_stride(slot_bytes), device)
    _grow(memory, size)
    return MemoryPool(memory.bytes, slot_bytes, num_slots)


def _memory(config: EngineConfig, size: int, unit: int, device: torch.device) -> HostMemory:
    pages = Pages.HUGE if config.local_cpu_use_hugepages else Pages.NORMAL
    try:
        return HostMemory(size, unit, pinning_for(device), pages)
    except MemoryUnavailable as error:
        raise _no_memory(error) from error


def _grow(memory: HostMemory, ready: int) -> None:
    try:
        memory.grow(ready)
    except MemoryUnavailable as error:
        raise _no_memory(error) from error


def _no_memory(error: Exception) -> ConfigError:
    return ConfigError(
        f"The memory for KV chunks cannot be had ({error}); lower 'max_local_cpu_size'."
    )


def _local_disk(config: EngineConfig, layout: ChunkLayout, queue_chunks: int) -> LocalDiskBackend:
    settings = DiskSettings(
        fsync=FsyncPolicy(config.local_disk_fsync),
        direct_io=DirectIO.ON if config.local_disk_direct_io else DirectIO.OFF,
        queue_chunks=queue_chunks,
        breaker_threshold=lambda: config.breaker_failure_threshold,
        breaker_interval_s=lambda: config.breaker_probe_interval_secs,
    )
    directories = [Path(path) for path in split_directories(config.local_disk or "")]
    try:
        return LocalDiskBackend(
            directories,
            int(config.max_local_disk_size * _GIB),
            layout,
            POLICIES[config.cache_policy],
            settings,
        )
    except (OSError, DirectoryInUse) as error:
        raise ConfigError(f"'local_disk' cannot be used: {error}") from error


def build_remote(config: EngineConfig, layout: ChunkLayout, queue_chunks: int) -> RemoteBackend:
    """The remote tier that `remote_url` names, for chunks of that layout. Raises
    ConfigError naming the key."""
    url = config.remote_url or ""

    def timeout_s() -> float:
        return config.blocking_timeout_secs

    try:
        connector = open_connector(url, ConnectorContext(layout, timeout_s))
    except InvalidRemoteURL as error:
        raise ConfigError(f"'remote_url' {hide_credentials(url)}: {error}") from error
    return RemoteBackend(
        connector,
        layout,
        serde_name=lambda: config.remote_serde,
        timeout_s=timeout_s,
        queue_chunks=queue_chunks,
        breaker_threshold=lambda: config.breaker_failure_threshold,
        breaker_interval_s=lambda: config.breaker_probe_interval_secs,
    )
