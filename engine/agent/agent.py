"""What one agent is made of."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.agent.workers import Workers
from engine.cache import CacheEngine
from engine.config import EngineConfig
from engine.lookup import Lookup
from engine.metadata import EngineMetadata


def _new_boot_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Agent:
    """One role of one engine in this process, and what it serves.

    `cache` is None on a scheduler, which holds no KV cache; `lookup` are a scheduler's
    clients or a worker's servers. `boot_id` differs
    after every start, which is how a control plane sees a restart;
    `started_at` is Unix time in seconds. `vllm_config` is what `/inference_info`
    shows of vLLM's configuration, None without vLLM in the process.
    """

    config: EngineConfig
    metadata: EngineMetadata
    cache: CacheEngine | None
    lookup: Lookup
    boot_id: str = field(default_factory=_new_boot_id)
    started_at: float = field(default_factory=time.time)
    vllm_config: Mapping[str, object] | None = None
    workers: Workers = field(default_factory=Workers)

    def close(self) -> None:
        """Let go of lookups and cache. What waits to be written is written, as far as
        that takes no more than seconds: it is the next start's cache."""
        self.lookup.shut_down()
        if self.cache is not None:
            self.cache.close()

    @property
    def name(self) -> str:
        """The name under which the agent registers: `<instance>-scheduler` or
        `<instance>-worker-<id>`."""
        instance = self.metadata.instance_id
        if self.metadata.worker_id is None:
            return f"{instance}-{self.metadata.role}"
        return f"{instance}-{self.metadata.role}-{self.metadata.worker_id}"
