"""The connector in vLLM's scheduler: what to load, what to save."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from engine.config import EngineConfig
from engine.lookup import PENDING, LookupClients, Pending, Prompt
from engine.metadata import EngineMetadata
from engine.vllm.adapters import Adapters
from engine.vllm.plans import LoadPlan, SavePlan, StepPlan, WorkerReport
from engine.vllm.saves_under_way import SavesUnderWay
from engine.vllm.tracking import Offer, TrackedRequest, is_cacheable, salted_root

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request


class SchedulerSide:
    """For the scheduler's thread alone."""

    def __init__(
        self,
        config: EngineConfig,
        metadata: EngineMetadata,
        clients: LookupClients,
    ) -> None:
        self._config = config
        self._model_name = metadata.model_name
        self._chunk_size = metadata.chunk_size
        self._block_size = config.block_size
        self._clients = clients
        self._adapters = Adapters()
        self._requests: dict[str, TrackedRequest] = {}
        self._saves = SavesUnderWay(metadata.world_size)
        # What the next plan will tell.
        self._loads: list[LoadPlan] = []
        self._awaited: set[str] = set()
        self._clears = False

    def matched_tokens(self, request: "Request", num_computed: int) -> int | Pending:
        """How many tokens after the first `num_computed` can be loaded: whole blocks, and
        never the last token, which vLLM computes. PENDING while that is being found
        out."""
        tracked = self._track(request)
        if tracked is None:
            return 0
        tracked.may_save = True
        if tracked.has_failed or self._clears:
            # A load that failed would fail again, and again.
            return 0
        if tracked.offer is None or tracked.offer.num_computed != num_computed:
            found = PENDING if self._is_waiting(tracked) else self._look_up(tracked)
            if isinstance(found, Pending):
                return PENDING
            tracked.offer = Offer(num_computed, self._usable(request, found, num_computed))
        return tracked.offer.num_tokens

    def allocated(self, request: "Request", block_ids: Sequence[int], num_external: int) -> None:
        """vLLM has these blocks for the request, and wants that many tokens loaded.
        Raises RuntimeError if they were not offered."""
        tracked = self._requests.get(request.request_id)
        if tracked is None:
            return
        offer, tracked.offer = tracked.offer, None
        if num_external == 0:
            # The lookup may have found what vLLM has itself, or does not want.
            self._clients.forget(request.request_id)
            return
        if offer is None:
            raise RuntimeError("vLLM waits for KV that it was not offered.")
        tracked.is_loading = True
        begin, end = offer.num_computed, offer.num_computed + num_external
        first, beyond = begin // self._chunk_size, -(-end // self._chunk_size)
        self._loads.append(
            LoadPlan(
                request.request_id,
                tracked.hashes[first:beyond],
                begin - first * self._chunk_size,
                block_ids[begin // self._block_size : end // self._block_size],
            )
        )

    def plan(self, output: "SchedulerOutput") -> StepPlan:
        """What the workers do in this step."""
        plan = StepPlan(
            loads=self._loads,
            preempted=set(output.preempted_req_ids or ()),
            awaited=self._awaited,
            clears=self._clears,
        )
        self._loads, self._awaited, self._clears = [], set(), False
        computed = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
        cached = output.scheduled_cached_reqs
        computed.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        for request_id, num_scheduled in output.num_scheduled_tokens.items():
            tracked = self._requests.get(request_id)
            if tracked is not None and tracked.may_save:
                drafted = len(output.scheduled_spec_decode_tokens.get(request_id, ()))
                end = computed[request_id] + num_scheduled - drafted
                plan.saves.extend(self._plan_saves(tracked, end, output))
        return plan

    def observe(self, loaded: Iterable[str], report: WorkerReport | None) -> None:
        """The loads that have ended, well or not, and what else the workers reported."""
        for request_id in loaded:
            if request_id in self._requests:
                self._requests[request_id].is_loading = False
        if report is None:
            return
        for request_id, times in report.saved.items():
            self._saves.note(request_id, times)
        for request_id in report.failed:
            if request_id in self._requests:
                self._requests[request_id].has_failed = True
                self._requests[request_id].num_kept = 0

    def finished(self, request: "Request") -> bool:
        """The request has ended. Whether its blocks must wait for saves."""
        tracked = self._requests.pop(request.request_id, None)
        self._clients.forget(request.request_id)
        if tracked is None or not self._saves.has(request.request_id):
            return False
        if tracked.is_loading:
            # vLLM keeps the blocks for the load, and frees them once; the saves are of
            # blocks that a preemption took away long ago.
            return False
        self._awaited.add(request.request_id)
        return True

    def clear(self) -> None:
        """From the next step on nothing that was stored is found, and what is computed on
        top of earlier KV is not stored."""
        self._clears = True
        for tracked in self._requests.values():
            tracked.offer = None
            tracked.num_kept = 0
            tracked.may_save = False

    @property
    def has_orders(self) -> bool:
        """Whether the workers must hear something even if no request runs."""
        return self._clears

    def _track(self, request: "Request") -> TrackedRequest | None:
        """None if KV of the request must not be cached."""
        if not is_cacheable(request):
            return None
        tracked = self._requests.get(request.request_id)
        if tracked is None:
            root = salted_root(request, self._adapters, self._model_name, self._chunk_size)
            if root is None:
                return None
            tracked = TrackedRequest(request, root, self._chunk_size)
            self._requests[request.request_id] = tracked
        return tracked

    def _look_up(self, tracked: TrackedRequest) -> int | Pending:
        """Leading tokens that are stored. PENDING also if more of them are about to be."""
        request = tracked.request
        hashes = tracked.hash_chunks()
        found = self._clients.lookup_prompt(
            Prompt(request.request_id, request.num_tokens, self._chunk_size, hashes)
        )
        if isinstance(found, Pending):
            return PENDING
        tracked.num_kept = found // self._chunk_size
        tracked.waits_for = hashes[tracked.num_kept] if tracked.num_kept < len(hashes) else None
        return PENDING if self._is_waiting(tracked) else found

    def _is_waiting(self, tracked: TrackedRequest) -> bool:
        """Whether the chunk after what was found is just being saved for another request:
        that takes milliseconds, and computing it again takes longer. A request waits no
        longer than for a lookup, all in all."""
        if tracked.waits_for is None or not self._saves.brings(tracked.waits_for):
            return False
        now = time.monotonic()
        if tracked.waiting_since is None:
            tracked.waiting_since = now
        return now - tracked.waiting_since < self._config.lookup_timeout_ms / 1000

    def _usable(self, request: "Request", found: int, num_computed: int) -> int:
        """Tokens to load, where the first `found` are stored and `num_computed` there."""
        most = request.num_tokens - 1
        usable = min(found, most - most % self._block_size)
        more = max(0, usable - num_computed)
        return more if more >= self._config.min_retrieve_tokens else 0

    def _plan_saves(
        self, tracked: TrackedRequest, end: int, output: "SchedulerOutput"
    ) -> list[SavePlan]:
        """Whole chunks among the first `end` tokens, which are computed after the step."""
        request_id = tracked.request.request_id
        state = output.kv_connector_block_state
        groups = None if state is None else state.get_block_ids(request_id)
        if groups is None:
            return []
        [block_ids] = groups
        if not self._config.save_decode_cache:
            end = min(end, tracked.request.num_prompt_tokens)
        hashes = tracked.hash_chunks()
        first, beyond = tracked.num_kept, min(end // self._chunk_size, len(hashes))
        if beyond <= first:
            return []
        blocks = self._chunk_size // self._block_size
        chunks = hashes[first:beyond]
        tracked.num_kept = beyond
        self._saves.begin(request_id, chunks)
        return [SavePlan(request_id, chunks, block_ids[first * blocks : beyond * blocks])]
