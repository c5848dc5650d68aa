"""Carrying out a planned operation, wave by wave, so that a crash at any moment leaves
a record from which somebody else can go on.

Every agent's target is `running` on record before it is called. Outcomes are written
as they come in, together with the targets that are begun next, in one transaction.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event

from django.db import connections, transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane import forwarding
from controlplane.audit.authorship import Authorship
from controlplane.configuration import services as configuration
from controlplane.fleet.models import Agent
from controlplane.operations import recovery
from controlplane.operations.effects import (
    CONF_UPDATE,
    Begun,
    DesiredChange,
    check_wishes,
    effect_of,
    settle_all,
)
from controlplane.operations.errors import CallBrokeDown, NotBegun
from controlplane.operations.importing import import_unknown
from controlplane.operations.lease import GRACE, LEASE, this_process, until
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.outcomes import (
    OUTCOME_FIELDS,
    Outcome,
    fill,
    outcome_of,
    state_of_fleet,
)
from controlplane.operations.planning import actor_of, call_of, wishes_of
from controlplane.operations.recording import common_engine, record_completed, record_part
from controlplane.operations.sampling import sample_after, sample_before
from controlplane.operations.strategy import OnFailure, Strategy
from controlplane.operations.taking_back import is_to_be_taken_back, note_breakdown, take_back
from controlplane.operations.undoing import undoing_of
from controlplane.rows import Changed, update_rows
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_SLICE_S = 2.0
_FAILURES = (State.FAILED, State.PARTIALLY_FAILED, State.UNKNOWN)
_REMOVED = ContractError(404, "Agent not found", "The agent was removed before its turn.")


def _callable(names: list[str]) -> QuerySet[Agent]:
    # What agents said last is long, and no business of a call.
    found = Agent.objects.filter(name__in=names).select_related("engine")
    return found.defer("last_status", "labels")


class NotOurs(Exception):
    """Somebody else has taken the operation over."""


class Stopping(Exception):
    """This process ends; somebody else goes on."""


class Paused(Exception):
    """There is nothing to do before that moment."""

    def __init__(self, end: datetime) -> None:
        super().__init__(f"until {end.isoformat()}")
        self.end = end


class Run:
    """One operation under way in this process, which holds its lease."""

    def __init__(self, operation: Operation, threads: ThreadPoolExecutor, stopping: Event) -> None:
        self.operation = operation
        self._threads = threads
        self._stopping = stopping
        self._holder = str(this_process())
        self._call = call_of(operation)
        self._wishes = wishes_of(operation)
        self._effect = effect_of(
            self._call.endpoint, self._call.values, self._call.document, self._wishes
        )
        self._actor = actor_of(operation)
        self._by = Authorship(self._actor, operation.reason, operation.request_id, operation.pk)
        self._strategy = Strategy.of(operation.strategy)
        self._rows = list(operation.targets.order_by("wave", "id"))
        names = [row.agent for row in self._rows]
        is_configuration = self._call.action == CONF_UPDATE
        self._secrets = configuration.known_secrets(names) if is_configuration else frozenset()
        self._agents = {agent.name: agent for agent in _callable(names)}
        self._begun: dict[int, Begun] = {}

    def carry_out(self) -> None:
        """Go through all waves, or as many as failures and cancelling let. Raises
        Paused if there is nothing to do for a while: another Run goes on then, with no
        thread held meanwhile. Raises NotOurs and Stopping, after which the operation
        stays open for another process."""
        self._find_out_what_was_left()
        # Decided once: what was a failure then may be found out to be none.
        if self.operation.rollback_began_at is not None or self._has_failed_in_waves():
            self._take_back()
        self._finish()

    def _has_failed_in_waves(self) -> bool:
        """Go through the waves; whether what was done is to be taken back."""
        self._import_configurations()
        is_to_be_taken_back = self._strategy.on_failure is OnFailure.ROLLBACK
        for wave in sorted({row.wave for row in self._rows}):
            rows = [row for row in self._rows if row.wave == wave and row.state == State.PENDING]
            if not rows:
                continue
            if self._has_failed_too_often():
                return is_to_be_taken_back
            if self._is_cancelled():
                break
            self._pause_before(wave)
            self._call_all(rows)
        return is_to_be_taken_back and self._has_failed_too_often()

    def _find_out_what_was_left(self) -> None:
        """Agents that were called by a process that is gone."""
        left = [row for row in self._rows if row.state == State.RUNNING]
        if left:
            recovery.settle_rows(self.operation, left, timeout=self.operation.timeout_s)

    def _import_configurations(self) -> None:
        import_unknown(
            self._call.endpoint,
            [
                self._agents[row.agent]
                for row in self._rows
                if row.state == State.PENDING and row.agent in self._agents
            ],
            request_id=self.operation.request_id,
            timeout=self.operation.timeout_s,
        )

    def _call_all(self, rows: Sequence[OperationTarget]) -> None:
        waiting = list(reversed(rows))
        answered: SimpleQueue[tuple[OperationTarget, Outcome]] = SimpleQueue()
        under_way: set[int] = set()
        limit = self.operation.concurrency
        finished: list[tuple[OperationTarget, Outcome]] = []
        while True:
            if self._stopping.is_set() or self._is_cancelled():
                waiting.clear()
            free = limit - len(under_way) + len(finished)
            begin = [waiting.pop() for _ in range(min(free, len(waiting)))]
            begun = self._record(finished, begin)
            under_way -= {row.pk for row, _ in finished}
            for row in begun:
                under_way.add(row.pk)
                call = self._threads.submit(self._call_one, row, answered)
                call.add_done_callback(partial(self._note_breakdown, row, answered))
            if not under_way and not waiting:
                break
            finished = self._wait(answered) if under_way else []
        if self._stopping.is_set():
            raise Stopping

    def _call_one(
        self,
        row: OperationTarget,
        answered: "SimpleQueue[tuple[OperationTarget, Outcome]]",
    ) -> None:
        agent, endpoint = self._agents[row.agent], self._call.endpoint
        request_id, timeout = self.operation.request_id, self.operation.timeout_s
        sample_before(endpoint, [agent], request_id=request_id, timeout=timeout)
        (result,) = forwarding.send_all(
            [agent],
            endpoint,
            query=self._call.query,
            body=self._call.body,
            request_id=request_id,
            timeout=timeout,
        )
        outcome = outcome_of(agent, result)
        sample_after(endpoint, [outcome], request_id=request_id, timeout=timeout)
        answered.put((row, outcome))
        connections.close_all()

    def _note_breakdown(
        self,
        row: OperationTarget,
        answered: "SimpleQueue[tuple[OperationTarget, Outcome]]",
        call: "Future[None]",
    ) -> None:
        """A call that broke down has an outcome too, or it would be waited for."""
        if (error := call.exception()) is None:
            return
        logger.error("the call of agent %s broke down", row.agent, exc_info=error)
        agent = self._agents[row.agent]
        answered.put((row, outcome_of(agent, CallBrokeDown(row.agent))))

    def _wait(
        self, answered: "SimpleQueue[tuple[OperationTarget, Outcome]]"
    ) -> list[tuple[OperationTarget, Outcome]]:
        """What has come in since; at least one, unless it is time to renew the lease."""
        try:
            finished = [answered.get(timeout=_SLICE_S)]
        except Empty:
            return []
        while True:
            try:
                finished.append(answered.get_nowait())
            except Empty:
                return finished

    def _record(
        self,
        finished: Sequence[tuple[OperationTarget, Outcome]],
        begin: Sequence[OperationTarget],
    ) -> list[OperationTarget]:
        """Write outcomes and beginnings; the targets that may be called now."""
        with transaction.atomic(durable=True):
            self._renew()
            if self._call.action == CONF_UPDATE:
                configuration.lock([row.agent for row in (*(row for row, _ in finished), *begin)])
            settled = [
                (self._begun.pop(row.pk), outcome.state, outcome.document)
                for row, outcome in finished
            ]
            settle_all(settled)
            changed = {
                row.pk: part.changed()
                for (row, _), (part, _, _) in zip(finished, settled, strict=True)
            }
            for row, outcome in finished:
                self._write(row, outcome)
            begun = self._begin(begin)
            # Last: audit entries take turns, and nobody whose turn it is may have to
            # wait for a row.
            for row in (*(row for row, _ in finished), *begin):
                if row.state != State.RUNNING:
                    self._record_completed(row, changed.get(row.pk))
        return begun

    def _begin(self, rows: Sequence[OperationTarget]) -> list[OperationTarget]:
        """Put on record that the agents of these are called next; those that may be."""
        deadline = until(timedelta(seconds=self.operation.timeout_s) + GRACE)
        if (over := self._why_it_is_over()) is not None:
            for row in rows:
                self._refuse(row, over)
            return []
        known = [row for row in rows if row.agent in self._agents]
        for row in rows:
            if row.agent not in self._agents:
                self._refuse(row, _REMOVED)
        names = [row.agent for row in known]
        begun: list[OperationTarget] = []
        for row, part in zip(known, self._effect.begin_all(names, self._by, deadline), strict=True):
            if isinstance(part, ContractError):
                self._refuse(row, part)
            else:
                self._begun[row.pk] = part
                row.state = State.RUNNING
                begun.append(row)
        OperationTarget.objects.filter(pk__in=[row.pk for row in begun]).update(state=State.RUNNING)
        return begun

    def _why_it_is_over(self) -> ContractError | None:
        """Pauses may be longer than what is wished lasts; None: it goes on."""
        try:
            check_wishes(self._call.endpoint, self._wishes)
        except ContractError as error:
            return error
        return None

    def _refuse(self, row: OperationTarget, error: ContractError) -> None:
        agent = self._agents.get(row.agent) or Agent(name=row.agent)
        self._write(row, outcome_of(agent, NotBegun(row.agent, error)))

    def _write(self, row: OperationTarget, outcome: Outcome) -> None:
        fill(row, outcome, self._secrets)
        update_rows(Changed(row, OUTCOME_FIELDS))

    def _record_completed(self, row: OperationTarget, changed: DesiredChange | None) -> None:
        agent = self._agents.get(row.agent)
        engine = "" if agent is None else agent.engine.name
        record_part(self.operation, self._actor, row, engine=engine, changed=changed)

    def _renew(self, *, paused_until: datetime | None = None) -> None:
        """Keep the operation, with the end of its pause if it pauses. Raises NotOurs."""
        held = Operation.objects.filter(
            pk=self.operation.pk,
            lease_owner=self._holder,
            state__in=(State.PENDING, State.RUNNING),
        )
        renewed = {"lease_until": until(LEASE), "state": State.RUNNING}
        if not held.update(**renewed, paused_until=paused_until):
            raise NotOurs

    def _pause_before(self, wave: int) -> None:
        """Raises Paused until the pause before the wave is over. Its end is on record:
        whoever goes on waits only for the rest."""
        called = {row.wave for row in self._rows if row.state != State.PENDING}
        if not called or wave in called or not self._strategy.pause_s:
            return
        end = self.operation.paused_until
        if end is None:
            end = until(timedelta(seconds=self._strategy.pause_s))
        if end > timezone.now():
            self._renew(paused_until=end)
            raise Paused(end)
        # The next wave has a pause of its own.
        self.operation.paused_until = None

    def _is_cancelled(self) -> bool:
        asked = Operation.objects.filter(pk=self.operation.pk, cancel_requested_at=None)
        return not asked.exists()

    def _has_failed_too_often(self) -> bool:
        borne = self._strategy.max_failures
        if borne is None:
            return False
        self._learn()
        return sum(State(row.state) in _FAILURES for row in self._rows) > borne

    def _learn(self) -> None:
        """Take over what the control loop found out about agents that did not answer."""
        unknown = {row.pk: row for row in self._rows if row.state == State.UNKNOWN}
        if not unknown:
            return
        for found in OperationTarget.objects.filter(pk__in=unknown):
            row = unknown[found.pk]
            row.state, row.answer, row.error = found.state, found.answer, found.error

    def _take_back(self) -> None:
        """Undo it on the agents that did it, or may have, the last wave first. That it
        began is on record: whoever goes on does not call further agents."""
        if self.operation.rollback_began_at is None:
            self.operation.rollback_began_at = timezone.now()
            with transaction.atomic():
                self._renew()
                self.operation.save(update_fields=["rollback_began_at"])
        for wave in sorted({row.wave for row in self._rows}, reverse=True):
            left = [row for row in self._rows if row.wave == wave and is_to_be_taken_back(row)]
            limit = self.operation.concurrency
            for begin in range(0, len(left), limit):
                self._take_back_at_once(left[begin : begin + limit])

    def _take_back_at_once(self, rows: Sequence[OperationTarget]) -> None:
        undone = {self._threads.submit(self._take_back_one, row): row for row in rows}
        under_way = set(undone)
        while under_way:
            done, under_way = wait(under_way, timeout=_SLICE_S)
            with transaction.atomic():
                self._renew()
            for undo in done:
                if (error := undo.exception()) is not None:
                    note_breakdown(undone[undo], error)
        if self._stopping.is_set():
            raise Stopping

    def _take_back_one(self, row: OperationTarget) -> None:
        try:
            operation = self.operation
            by = Authorship(self._actor, undoing_of(operation), operation.request_id, operation.pk)
            take_back(row, operation, by, timeout=operation.timeout_s)
        finally:
            connections.close_all()

    def _finish(self) -> None:
        with transaction.atomic(durable=True):
            self._renew()
            self._learn()
            for row in self._rows:
                if row.state == State.PENDING:
                    row.state = State.CANCELLED
                    update_rows(Changed(row, ("state",)))
            self.operation.refresh_from_db()
            self.operation.state = state_of_fleet(self._rows)
            self.operation.finished_at = timezone.now()
            self.operation.save(update_fields=["state", "finished_at"])
            record_completed(
                self.operation,
                self._actor,
                self._rows,
                engine=common_engine(list(self._agents.values())),
                changed=None,
                duration_ms=_milliseconds_of(self.operation),
            )


def _milliseconds_of(operation: Operation) -> float:
    """From when it was asked for, pauses included."""
    return (timezone.now() - operation.created_at).total_seconds() * 1000
