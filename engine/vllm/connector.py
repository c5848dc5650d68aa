"""vLLM's door: `KVPlaneConnector`, named in --kv-transfer-config.

One class for both roles, because vLLM wants it so; each role's work is elsewhere.
"""

from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorWorkerMetadata,
)

from engine.lookup import Pending
from engine.vllm.errors import UnsupportedByConnector
from engine.vllm.facts import read_facts
from engine.vllm.plans import StepPlan, WorkerReport
from engine.vllm.processes import SchedulerProcess, WorkerProcess

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.forward_context import ForwardContext
    from vllm.v1.attention.backend import AttentionMetadata
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request


class KVPlaneConnector(KVConnectorBase_V1):
    """A KV cache in CPU memory, on disk and in a remote store behind vLLM's own."""

    def __init__(
        self,
        vllm_config: "VllmConfig",
        role: KVConnectorRole,
        kv_cache_config: "KVCacheConfig",
    ) -> None:
        """Raises UnsupportedByConnector and ConfigError for what cannot be served."""
        super().__init__(vllm_config, role, kv_cache_config)
        # A cache loses things; vLLM's default would fail the request for it. The
        # scheduler reads this after it has made its connector.
        self._kv_transfer_config.kv_load_failure_policy = "recompute"
        facts = read_facts(vllm_config, kv_cache_config)
        self._scheduler: SchedulerProcess | None = None
        self._worker: WorkerProcess | None = None
        if role is KVConnectorRole.SCHEDULER:
            self._scheduler = SchedulerProcess(vllm_config, facts)
        else:
            self._worker = WorkerProcess(vllm_config, kv_cache_config, facts)

    @property
    def requires_kv_delivery(self) -> bool:
        """A save that is dropped is a miss, nothing more."""
        return False

    def shutdown(self) -> None:
        if self._scheduler is not None:
            self._scheduler.close()
        if self._worker is not None:
            self._worker.close()

    # The scheduler's part.

    def get_num_new_matched_tokens(
        self, request: "Request", num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        matched = self._for_scheduler.side.matched_tokens(request, num_computed_tokens)
        # Loads happen between steps: vLLM's model runners compute wrong tokens after one
        # that failed within a step (https://github.com/vllm-project/vllm/issues/49250).
        return (None, False) if isinstance(matched, Pending) else (matched, matched > 0)

    def update_state_after_alloc(
        self, request: "Request", blocks: "KVCacheBlocks", num_external_tokens: int
    ) -> None:
        [block_ids] = blocks.get_block_ids()
        self._for_scheduler.side.allocated(request, block_ids, num_external_tokens)

    def build_connector_meta(self, scheduler_output: "SchedulerOutput") -> KVConnectorMetadata:
        return self._for_scheduler.side.plan(scheduler_output)

    def update_connector_output(self, connector_output: "KVConnectorOutput") -> None:
        report = connector_output.kv_connector_worker_meta
        self._for_scheduler.side.observe(
            connector_output.finished_recving or (),
            report if isinstance(report, WorkerReport) else None,
        )

    def request_finished(
        self, request: "Request", block_ids: list[int]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self._for_scheduler.side.finished(request), None

    def reset_cache(self) -> bool | None:
        """Nothing that is stored now will be found. For `POST /reset_prefix_cache` with
        reset_external, and whenever vLLM lets go of its own prefix cache because the
        model's weights may change."""
        self._for_scheduler.side.clear()
        return True

    def has_pending_push_work(self) -> bool:
        """vLLM asks whether it must make a step though no request wants one."""
        return self._for_scheduler.side.has_orders

    # The workers' part.

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        self._for_worker.start(kv_caches)

    def handle_preemptions(self, kv_connector_metadata: KVConnectorMetadata) -> None:
        self._for_worker.side.prepare(_plan(kv_connector_metadata))

    def start_load_kv(self, forward_context: "ForwardContext", **kwargs: Any) -> None:
        self._for_worker.side.load(_plan(self._get_connector_metadata()))

    def wait_for_layer_load(self, layer_name: str) -> None:
        """No layer that is being loaded is read."""

    def save_kv_layer(
        self,
        layer_name: str,
        kv_layer: torch.Tensor,
        attn_metadata: "AttentionMetadata",
        **kwargs: Any,
    ) -> None:
        """All layers are saved at once, after the model."""

    def wait_for_save(self) -> None:
        self._for_worker.side.save(_plan(self._get_connector_metadata()))

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        side = self._for_worker.side
        return side.take_saved(), side.take_loaded()

    def get_block_ids_with_load_errors(self) -> set[int]:
        return self._for_worker.side.take_failed_blocks()

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        return self._for_worker.side.take_report()

    @property
    def _for_scheduler(self) -> SchedulerProcess:
        if self._scheduler is None:
            raise UnsupportedByConnector("vLLM asked a worker's connector to schedule.")
        return self._scheduler

    @property
    def _for_worker(self) -> WorkerProcess:
        if self._worker is None:
            raise UnsupportedByConnector("vLLM asked the scheduler's connector to move KV.")
        return self._worker


def _plan(metadata: KVConnectorMetadata) -> StepPlan:
    if not isinstance(metadata, StepPlan):
        raise TypeError(f"Not a plan of KVPlane: {metadata!r}")
    return metadata
