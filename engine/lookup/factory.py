"""Lookup clients and servers as a configuration asks for them."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

import zmq

from engine.config import EngineConfig
from engine.lookup.addresses import address_of
from engine.lookup.bypass import BypassLookupClient
from engine.lookup.channel import Channel
from engine.lookup.client import LookupClient
from engine.lookup.errors import LookupUnavailable
from engine.lookup.hit_limit import HitLimitLookupClient
from engine.lookup.index import ChunkIndex, LocalWorkers
from engine.lookup.listener import Listener
from engine.lookup.rpc import AsyncLookupClient, RPCLookupClient
from engine.lookup.security import security_of
from engine.lookup.server import AsyncLookupServer, LookupServer
from engine.lookup.shared_tiers import open_shared_tiers
from engine.lookup.statistics import ChunkStatistics
from engine.lookup.statistics_client import ChunkStatisticsLookupClient
from engine.lookup.tally import LookupTally
from engine.metadata import EngineMetadata
from engine.tokens import root_hash

NOBODY: Final = "None"
"""What stands for a client or server that is not there."""


class Core(StrEnum):
    """How a client finds out, by the name that `/lookup/info` shows."""

    PLAIN = RPCLookupClient.name
    ASYNC = AsyncLookupClient.name
    BYPASS = BypassLookupClient.name


class ClientPlan(NamedTuple):
    """The client that a configuration asks for. `hit_ratio` is None without a limit."""

    core: Core
    hit_ratio: float | None
    counts_chunks: bool

    def describe(self) -> str:
        """What the client's `describe` will be."""
        name: str = self.core.value
        if self.hit_ratio is not None:
            name = f"{HitLimitLookupClient.name}({name})"
        if self.counts_chunks:
            name = f"{ChunkStatisticsLookupClient.name}({name})"
        return name


def asked_workers(config: EngineConfig) -> list[int]:
    """The workers whose answers count. With MLA every worker has the same KV, so that
    one can speak for all."""
    if config.lookup_server_worker_ids:
        return sorted(set(config.lookup_server_worker_ids))
    return [0] if config.use_mla else list(range(config.world_size))


def plan_client(config: EngineConfig, local: LocalWorkers) -> ClientPlan:
    """What would be made now; nothing is opened. Raises LookupUnavailable if that
    cannot be."""
    core = Core.ASYNC if config.enable_async_loading else Core.PLAIN
    if config.enable_scheduler_bypass_lookup:
        core = Core.BYPASS
        elsewhere = local.lacks(asked_workers(config))
        if elsewhere and config.remote_url is None:
            raise LookupUnavailable(
                "'enable_scheduler_bypass_lookup' is true, but the workers "
                f"{elsewhere} live in other processes and there is no 'remote_url' to look into; "
                "set it to false, or start the scheduler with the workers' 'remote_url'."
            )
    return ClientPlan(core, config.hit_miss_ratio, config.enable_chunk_statistics)


def make_client(
    plan: ClientPlan,
    config: EngineConfig,
    metadata: EngineMetadata,
    local: LocalWorkers,
    tally: LookupTally,
    statistics: Callable[[], ChunkStatistics],
) -> LookupClient:
    """The planned client. `statistics` gives what chunks are counted in, if they are.
    Raises LookupUnavailable, with nothing left open."""
    client = _make_core(plan.core, config, metadata, local, tally)
    if plan.hit_ratio is not None:
        client = HitLimitLookupClient(client, plan.hit_ratio)
    if plan.counts_chunks:
        try:
            counting = statistics()
        except LookupUnavailable:
            client.close()
            raise
        client = ChunkStatisticsLookupClient(client, counting)
    return client


def _make_core(
    core: Core,
    config: EngineConfig,
    metadata: EngineMetadata,
    local: LocalWorkers,
    tally: LookupTally,
) -> LookupClient:
    def timeout_ms() -> int:
        return config.lookup_timeout_ms

    if core is Core.BYPASS:
        return _make_bypass(config, metadata, local, timeout_ms, tally)
    channel = _open_channel(config)
    made = RPCLookupClient if core is Core.PLAIN else AsyncLookupClient
    root = root_hash(metadata.model_name, metadata.chunk_size)
    return made(channel, root, timeout_ms, tally)


def _open_channel(config: EngineConfig) -> Channel:
    workers = asked_workers(config)
    try:
        return Channel(
            {worker_id: address_of(config, worker_id) for worker_id in workers},
            lambda address: security_of(address, config.agent_token),
        )
    except zmq.ZMQError as error:
        raise LookupUnavailable(
            f"A lookup client cannot connect to {len(workers)} workers: {error}. Let the process "
            "open more files (ulimit -n), or ask fewer workers with lookup_server_worker_ids."
        ) from error


def _make_bypass(
    config: EngineConfig,
    metadata: EngineMetadata,
    local: LocalWorkers,
    timeout_ms: Callable[[], int],
    tally: LookupTally,
) -> BypassLookupClient:
    workers = asked_workers(config)
    if not local.lacks(workers):
        return BypassLookupClient(local.of(workers), _nothing_to_close, timeout_ms, tally)
    tiers = open_shared_tiers(config, metadata.fmt, workers)

    def close() -> None:
        for tier in tiers:
            tier.close()

    return BypassLookupClient(tiers, close, timeout_ms, tally)


def _nothing_to_close() -> None:
    """The engines of this process are not the client's."""


def planned_server(config: EngineConfig, worker_id: int) -> str:
    """The name of the server that this worker would have now, or NOBODY."""
    if worker_id not in asked_workers(config):
        return NOBODY
    return AsyncLookupServer.name if config.enable_async_loading else LookupServer.name


def make_server(
    name: str,
    config: EngineConfig,
    worker_id: int,
    root: bytes,
    index: ChunkIndex,
    tally: LookupTally,
) -> LookupServer:
    """The server of that name. Raises LookupUnavailable if it cannot listen."""
    address = address_of(config, worker_id)
    listener = Listener(address, security_of(address, config.agent_token))
    made = AsyncLookupServer if name == AsyncLookupServer.name else LookupServer
    return made(listener, index, root, tally)
