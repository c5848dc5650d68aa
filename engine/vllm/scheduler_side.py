"""The connector in vLLM's scheduler: what to load, what to save."""

import time
from collections import Counter
from typing import TYPE_CHECKING

from engine.config import EngineConfig
from engine.lookup import PENDING, LookupClients, Pending, Prompt
from engine.metadata import EngineMetadata
from engine.vllm.plans import LoadPlan, SavePlan, StepPlan, WorkerReport
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
        self._world_size = metadata.world_size
        self._clients = clients
        self._requests: dict[str, TrackedRequest] = {}
        self._ended: dict[str, TrackedRequest] = {}
        """Requests whose blocks wait for saves."""
        self._awaited: set[str] = set()
        self._saving: Counter[bytes] = Counter()
        """Chunks that are being saved, by their hashes."""

    def matched_tokens(self, request: "Request", num_computed: int) -> int | Pending:
        """How many tokens after the first `num_computed` can be loaded: whole blocks, and
        never the last token, which vLLM computes. PENDING while that is being found
        out."""
        if not is_cacheable(request):
            return 0
        tracked = self._track(request)
        if tracked.attempt:
            # A load that failed would fail again, and again.
            return 0
        if tracked.offer is None or tracked.offer.num_computed != num_computed:
            found = self._look_up(tracked)
            if isinstance(found, Pending) or self._is_worth_waiting(tracked, found):
                return PENDING
            most = request.num_tokens - 1
            usable = min(found, most - most % self._block_size)
            more = max(0, usable - num_computed)
            if more < self._config.min_retrieve_tokens:
                more = 0
            tracked.offer = Offer(num_computed, more)
        return tracked.offer.num_tokens

    def allocated(self, request: "Request", num_external: int) -> None:
        """vLLM has blocks for the request, and wants that many tokens loaded."""
        tracked = self._requests.get(request.request_id)
        if tracked is None:
            return
        offer, tracked.offer = tracked.offer, None
        if num_external == 0:
            # The lookup may have found what vLLM has itself, or does not want.
            self._clients.forget(request.request_id)
        elif offer is not None:
            tracked.load = Offer(offer.num_computed, num_external)

    def plan(self, output: "SchedulerOutput") -> StepPlan:
        """What the workers do in this step."""
        plan = StepPlan(preempted=set(output.preempted_req_ids or ()), awaited=self._awaited)
        self._awaited = set()
        for request_id in plan.preempted:
            if request_id in self._requests:
                self._forget_progress(self._requests[request_id])
        computed = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
        cached = output.scheduled_cached_reqs
        computed.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        for request_id, num_scheduled in output.num_scheduled_tokens.items():
            tracked = self._requests.get(request_id)
            if tracked is None:
                continue
            drafted = len(output.scheduled_spec_decode_tokens.get(request_id, ()))
            self._plan_request(plan, tracked, computed[request_id], num_scheduled - drafted, output)
        return plan

    def observe(self, report: WorkerReport) -> None:
        """What the workers reported of a step."""
        for request_id, times in report.saved.items():
            self._note_saves(request_id, times)
        for request_id in report.failed:
            if request_id in self._requests:
                tracked = self._requests[request_id]
                tracked.attempt += 1
                self._forget_progress(tracked)

    def finished(self, request: "Request") -> bool:
        """The request has ended. Whether its blocks must wait for saves."""
        tracked = self._requests.pop(request.request_id, None)
        self._clients.forget(request.request_id)
        if tracked is None or not tracked.saving:
            return False
        self._ended[request.request_id] = tracked
        self._awaited.add(request.request_id)
        return True

    def _note_saves(self, request_id: str, times: int) -> None:
        """So many more workers have done a save of that request; each does them in
        order."""
        tracked = self._requests.get(request_id) or self._ended.get(request_id)
        if tracked is None:
            return
        tracked.reports += times
        while tracked.saving and tracked.reports >= self._world_size:
            tracked.reports -= self._world_size
            self._saving.subtract(tracked.saving.popleft())
        self._saving += Counter()
        if not tracked.saving:
            self._ended.pop(request_id, None)

    def _is_worth_waiting(self, tracked: TrackedRequest, found: int) -> bool:
        """Whether the chunk after what was found is just being saved for another request:
        that takes milliseconds, and computing it again takes longer."""
        position = found // self._chunk_size
        is_coming = position < len(tracked.hashes) and tracked.hashes[position] in self._saving
        now = time.monotonic()
        if not is_coming:
            tracked.waiting_since = None
            return False
        if tracked.waiting_since is None:
            tracked.waiting_since = now
        return now - tracked.waiting_since < self._config.lookup_timeout_ms / 1000

    def _track(self, request: "Request") -> TrackedRequest:
        tracked = self._requests.get(request.request_id)
        if tracked is None:
            root = salted_root(request, self._model_name, self._chunk_size)
            tracked = TrackedRequest(request, root, self._chunk_size)
            self._requests[request.request_id] = tracked
        return tracked

    def _look_up(self, tracked: TrackedRequest) -> int | Pending:
        request = tracked.request
        hashes = tracked.hash_chunks()
        found = self._clients.lookup_prompt(
            Prompt(request.request_id, request.num_tokens, self._chunk_size, hashes)
        )
        if not isinstance(found, Pending):
            tracked.num_kept = found // self._chunk_size
        return found

    def _plan_request(
        self,
        plan: StepPlan,
        tracked: TrackedRequest,
        num_computed: int,
        num_scheduled: int,
        output: "SchedulerOutput",
    ) -> None:
        request_id = tracked.request.request_id
        state = output.kv_connector_block_state
        groups = None if state is None else state.get_block_ids(request_id)
        if groups is None:
            return
        [block_ids] = groups
        if num_computed < tracked.end:
            # vLLM went back: what it computed after this point does not count.
            tracked.num_kept = min(tracked.num_kept, num_computed // self._chunk_size)
        tracked.end = num_computed + num_scheduled
        if tracked.load is not None:
            plan.loads.append(self._load_plan(tracked, tracked.load, block_ids))
            tracked.load = None
        self._plan_saves(plan, tracked, block_ids)

    def _load_plan(self, tracked: TrackedRequest, load: Offer, block_ids: list[int]) -> LoadPlan:
        begin, end = load.num_computed, load.num_computed + load.num_tokens
        first, beyond = begin // self._chunk_size, -(-end // self._chunk_size)
        return LoadPlan(
            tracked.request.request_id,
            tracked.hashes[first:beyond],
            begin - first * self._chunk_size,
            block_ids[begin // self._block_size : end // self._block_size],
        )

    def _plan_saves(self, plan: StepPlan, tracked: TrackedRequest, block_ids: list[int]) -> None:
        end = tracked.end
        if not self._config.save_decode_cache:
            end = min(end, tracked.request.num_prompt_tokens)
        hashes = tracked.hash_chunks()
        beyond = min(end // self._chunk_size, len(hashes))
        first = tracked.num_kept
        if beyond <= first:
            return
        blocks = self._chunk_size // self._block_size
        plan.saves.append(
            SavePlan(
                tracked.request.request_id,
                hashes[first:beyond],
                block_ids[first * blocks : beyond * blocks],
                tracked.attempt,
            )
        )
        tracked.num_kept = beyond
        tracked.saving.append(hashes[first:beyond])
        self._saving.update(hashes[first:beyond])

    def _forget_progress(self, tracked: TrackedRequest) -> None:
        tracked.offer = tracked.load = None
        tracked.end = 0
        tracked.num_kept = 0
