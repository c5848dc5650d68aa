"""Making and settling changes of modes. Each function runs in the caller's
transaction."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connections, router
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from controlplane.audit.authorship import Authorship
from controlplane.fleet.models import Agent
from controlplane.modes.models import (
    DesiredMode,
    Mode,
    ModeChange,
    ModeChangeState,
    ModeSource,
)
from controlplane.rows import Changed, Columns, insert_rows, read_rows, update_rows

_OPEN = (ModeChangeState.PENDING, ModeChangeState.UNKNOWN)
_DESIRED = (Columns(DesiredMode, "desired"),)
_DESIRED_FIELDS = (
    "value",
    "since",
    "expires_at",
    "revert_to",
    "revert_attempts",
    "next_revert_at",
    "revert_gave_up_at",
    "revert_error",
    "change",
)
_OF_SWITCH = "FROM modes_desiredmode desired WHERE agent = %s AND mode = %s AND backend = %s"
# What was desired before an agent was registered was desired of another one of that name.
_OF_THIS_AGENT = (
    f"{_OF_SWITCH} AND since >= "  # noqa: S608 - only constants
    "COALESCE((SELECT registered_at FROM fleet_agent WHERE name = %s), since)"
)


class Switch(NamedTuple):
    """One mode of an agent; `backend` is "" unless it is a bypass."""

    mode: Mode
    backend: str = ""


@dataclass(frozen=True)
class Wish:
    """What a switch is to be. `expires_at` None: for good. `revert_to` is where an end
    leads; None: back to what was meant to last."""

    switch: Switch
    value: bool
    expires_at: datetime | None = None
    source: ModeSource = ModeSource.CHANGE
    revert_to: bool | None = None


def find_desired(agent: str, switch: Switch) -> DesiredMode | None:
    """What the switch should be; None: nobody has said."""
    found = read_rows(_DESIRED, _OF_THIS_AGENT, [agent, switch.mode.value, switch.backend, agent])
    return found[0][0] if found else None


def desired_of(agents: Iterable[str]) -> dict[str, dict[Switch, DesiredMode]]:
    """What each of the agents should be in."""
    desired: dict[str, dict[Switch, DesiredMode]] = {name: {} for name in agents}
    for row in _desired_now().filter(agent__in=list(desired)):
        desired[row.agent][Switch(Mode(row.mode), row.backend)] = row
    return desired


def wish_before(change: ModeChange) -> Wish:
    """What takes the change back: what was wished before it, with its end. An end that
    has passed meanwhile has led to where it leads."""
    switch = _switch_of(change)
    if change.from_value is None:
        return Wish(switch, not change.to_value, source=ModeSource.ROLLBACK)
    before = Wish(
        switch,
        change.from_value,
        change.from_expires_at,
        ModeSource.ROLLBACK,
        change.from_revert_to,
    )
    if before.expires_at is None or before.expires_at > timezone.now():
        return before
    value = before.value if before.revert_to is None else before.revert_to
    return Wish(switch, value, source=ModeSource.ROLLBACK)


def is_desired(agent: str, wish: Wish) -> bool:
    """Whether that, with that end, is what the switch should be now."""
    return agrees(find_desired(agent, wish.switch), wish)


def agrees(desired: DesiredMode | None, wish: Wish) -> bool:
    """Whether what is desired of the wish's switch, if anything, is that with that end."""
    return desired is not None and (desired.value, desired.expires_at, desired.revert_to) == (
        wish.value,
        wish.expires_at,
        wish.revert_to,
    )


def find_part_of(operation_id: uuid.UUID, agent: str) -> ModeChange | None:
    """The change that an operation made, or tried to make, on the agent; None for an
    operation that does not change modes."""
    return ModeChange.objects.filter(operation_id=operation_id, agent=agent).first()


def find_parts_of(operation_id: uuid.UUID, agents: Collection[str]) -> QuerySet[ModeChange]:
    """As find_part_of(), for each of the agents that has one."""
    return ModeChange.objects.filter(operation_id=operation_id, agent__in=agents)


def propose(agent: str, wish: Wish, by: Authorship) -> ModeChange:
    """Put a pending change on record, before the agent is called."""
    change = _proposed(agent, wish, by, find_desired(agent, wish.switch))
    insert_rows(change)
    return change


def propose_all(agents: Sequence[str], wish: Wish, by: Authorship) -> list[ModeChange]:
    """As propose(), for each of the agents in their order, with one question."""
    known = {
        row.agent: row
        for row in _desired_now().filter(
            agent__in=agents, mode=wish.switch.mode, backend=wish.switch.backend
        )
    }
    changes = [_proposed(agent, wish, by, known.get(agent)) for agent in agents]
    if changes:
        insert_rows(*changes)
    return changes


def _proposed(agent: str, wish: Wish, by: Authorship, desired: DesiredMode | None) -> ModeChange:
    return ModeChange(
        agent=agent,
        mode=wish.switch.mode,
        backend=wish.switch.backend,
        from_value=_value_before(desired, wish.switch),
        to_value=wish.value,
        state=ModeChangeState.PENDING,
        source=wish.source,
        expires_at=wish.expires_at,
        revert_to=None if wish.expires_at is None else _revert_to(desired, wish),
        from_expires_at=None if desired is None else desired.expires_at,
        from_revert_to=None if desired is None else desired.revert_to,
        created_at=timezone.now(),
        **by.fields(),
    )


def apply(change: ModeChange) -> None:
    """The agent did it: that is what it should be from now on. A change that was
    overtaken by a later one of the same switch only becomes history."""
    apply_all([change])


def apply_all(changes: Sequence[ModeChange]) -> None:
    """As apply(), for changes of one switch on different agents, in few statements."""
    changes = [change for change in changes if change.state in _OPEN]
    if not changes:
        return
    switch = _switch_of(changes[0])
    for change in changes:
        change.state, change.settled_at = ModeChangeState.APPLIED, timezone.now()
    update_rows(*[Changed(change, ("state", "settled_at")) for change in changes])
    known = _locked_desired([change.agent for change in changes], switch)
    for change in changes:
        desired = known.get(change.agent)
        if desired is None:
            _insert_first(change)
        elif desired.change_id <= change.pk:
            update_rows(Changed(_describe(change, desired), _DESIRED_FIELDS))


def _locked_desired(agents: Sequence[str], switch: Switch) -> dict[str, DesiredMode]:
    """What is desired, which nobody else changes before the transaction ends. The
    order is the same for everybody, so that nobody waits in a circle."""
    if len(agents) > 1:
        rows = DesiredMode.objects.select_for_update().order_by("pk")
        found = rows.filter(agent__in=agents, mode=switch.mode, backend=switch.backend)
        return {desired.agent: desired for desired in found}
    # SQLite has one writer anyway, and no such clause.
    is_sqlite = connections[router.db_for_write(DesiredMode)].vendor == "sqlite"
    (agent,) = agents
    one = _find_row(agent, switch) if is_sqlite else _find_locked(agent, switch)
    return {} if one is None else {agent: one}


def _find_row(agent: str, switch: Switch) -> DesiredMode | None:
    """Also one of an agent that had this name before: a switch has one row."""
    found = read_rows(_DESIRED, _OF_SWITCH, [agent, switch.mode.value, switch.backend])
    return found[0][0] if found else None


def _find_locked(agent: str, switch: Switch) -> DesiredMode | None:
    rows = DesiredMode.objects.select_for_update()
    return rows.filter(agent=agent, mode=switch.mode, backend=switch.backend).first()


def _insert_first(change: ModeChange) -> None:
    """The first row of the switch, unless somebody else inserts it at the same time; the
    later change is what counts then."""
    first = _describe(change, DesiredMode(agent=change.agent))
    DesiredMode.objects.bulk_create([first], ignore_conflicts=True)
    desired = _find_locked(change.agent, _switch_of(change))
    if desired is not None and desired.change_id < change.pk:
        update_rows(Changed(_describe(change, desired), _DESIRED_FIELDS))


def refuse(change: ModeChange) -> None:
    """The agent did not do it."""
    _settle(change, ModeChangeState.FAILED)


def lose_sight(change: ModeChange) -> None:
    """Nobody knows what the agent did, until the control loop asks."""
    _settle(change, ModeChangeState.UNKNOWN)


def note_observed(
    agent: str, observed: Mapping[Switch, bool], source: ModeSource, by: Authorship
) -> None:
    """Make what the agent is in now what it should be, without a call."""
    for switch, value in observed.items():
        apply(propose(agent, Wish(switch, value, source=source), by))


def forget(agent: str, *, before: datetime) -> None:
    """Desire nothing any more that was desired before that moment, of another agent of
    that name. The history stays."""
    DesiredMode.objects.filter(agent=agent, since__lt=before).delete()


def let_it_last(desired: DesiredMode) -> bool:
    """Its end leads to what it is already: only the end goes. Whether it was still so."""
    return bool(_as_it_was(desired).update(expires_at=None, revert_to=None))


def note_not_ended(desired: DesiredMode, error: str, next_at: datetime) -> None:
    """The agent did not go back though the time is up; it is tried again then."""
    _as_it_was(desired).update(
        revert_attempts=F("revert_attempts") + 1, revert_error=error[:500], next_revert_at=next_at
    )


def give_up_ending(desired: DesiredMode) -> bool:
    """Try no more to end it; whether it was still to be ended."""
    waiting = _as_it_was(desired).filter(revert_gave_up_at=None)
    return bool(waiting.update(revert_gave_up_at=timezone.now()))


def end_anew(agent: str) -> None:
    """Try again to end the agent's modes whose time is up, as if for the first time."""
    DesiredMode.objects.filter(agent=agent, revert_attempts__gt=0).update(
        revert_attempts=0, next_revert_at=None, revert_gave_up_at=None, revert_error=""
    )


def is_latest(change: ModeChange) -> bool:
    """Whether no later change of the same switch was asked for."""
    later = ModeChange.objects.filter(
        agent=change.agent, mode=change.mode, backend=change.backend, pk__gt=change.pk
    )
    return not later.exclude(state=ModeChangeState.FAILED).exists()


def _desired_now() -> QuerySet[DesiredMode]:
    """Rows of agents that are registered, and of those that never were."""
    registered = Agent.objects.filter(name=OuterRef("agent")).values("registered_at")[:1]
    return DesiredMode.objects.filter(since__gte=Coalesce(Subquery(registered), F("since")))


def _as_it_was(desired: DesiredMode) -> QuerySet[DesiredMode]:
    """The row, unless a later change has taken it over."""
    return DesiredMode.objects.filter(pk=desired.pk, change_id=desired.change_id)


def _settle(change: ModeChange, state: ModeChangeState) -> None:
    if change.state not in _OPEN:
        return
    change.state = state
    change.settled_at = timezone.now()
    update_rows(Changed(change, ("state", "settled_at")))


def _switch_of(change: ModeChange) -> Switch:
    return Switch(Mode(change.mode), change.backend)


def _describe(change: ModeChange, desired: DesiredMode) -> DesiredMode:
    desired.mode = change.mode
    desired.backend = change.backend
    desired.value = change.to_value
    desired.since = change.settled_at or change.created_at
    desired.expires_at = change.expires_at
    desired.revert_to = change.revert_to
    desired.revert_attempts, desired.revert_error = 0, ""
    desired.next_revert_at = desired.revert_gave_up_at = None
    desired.change = change
    return desired


def _value_before(desired: DesiredMode | None, switch: Switch) -> bool | None:
    if desired is not None:
        return desired.value
    # A backend that nobody ever bypassed is not bypassed; of the others nothing is known.
    return False if switch.mode is Mode.BYPASS else None


def _revert_to(desired: DesiredMode | None, wish: Wish) -> bool:
    """Where a change with an end leads back to: what was meant to last."""
    if wish.revert_to is not None:
        return wish.revert_to
    if desired is None:
        return not wish.value
    return desired.value if desired.revert_to is None else desired.revert_to
