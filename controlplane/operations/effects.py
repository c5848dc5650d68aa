"""What a call means for the state that an agent should be in.

Before an agent is called an effect begins: a revision or a change of a mode goes
on record as pending. What it began is settled with the outcome.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast
from urllib.parse import urlencode

from django.utils import timezone

from controlplane.audit.authorship import Authorship
from controlplane.audit.difference import side
from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.modes import services as modes
from controlplane.modes.models import Mode, ModeChange, ModeChangeState
from controlplane.modes.services import Switch, Wish
from controlplane.operations.models import State
from engine.contract import ContractError, Endpoint, Group, Values

_MODES = {
    "freeze.enable": (Mode.FREEZE, True),
    "freeze.disable": (Mode.FREEZE, False),
    "hot_cache.enable": (Mode.HOT_CACHE, True),
    "hot_cache.disable": (Mode.HOT_CACHE, False),
    "bypass.add": (Mode.BYPASS, True),
    "bypass.remove": (Mode.BYPASS, False),
}
CONF_UPDATE = "conf.update"


class Begun(Protocol):
    """What an effect put on record for one agent."""

    def settle(self, state: State, document: object) -> None:
        """Write what came of it, in the transaction of the outcome. `document` is the
        agent's answer, None if there was none."""
        ...

    def changed(self) -> "DesiredChange | None":
        """What is desired otherwise now that it is settled; None for what has no
        desired state, or changed none."""
        ...


@dataclass(frozen=True)
class DesiredChange:
    """Desired state before and after, as far as it differs; without secrets."""

    before: dict[str, object]
    after: dict[str, object]


class Effect(Protocol):
    """What a call means for desired state."""

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Put it on record, in the transaction of the request. Raises ContractError
        if it must not be done to this agent now; nothing was written then."""
        ...

    def begin_all(
        self, agents: Sequence[str], by: Authorship, deadline_at: datetime
    ) -> list["Begun | ContractError"]:
        """As begin(), for each of the agents in their order; what it would raise stands
        in the place of what was begun."""
        ...


class Superseded(ContractError):
    """What was to be put back is not desired any more."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            409,
            "Superseded",
            f"What agent '{agent}' should be was changed meanwhile; nothing was put back.",
        )


@dataclass(frozen=True)
class Wishes:
    """What a caller can say beyond the documented call. None: nothing said."""

    expected_revision: int | None = None
    expires_at: datetime | None = None

    def describe(self) -> dict[str, object]:
        """As an operation keeps them."""
        described: dict[str, object] = {}
        if self.expires_at is not None:
            described["expires_at"] = self.expires_at.isoformat()
        if self.expected_revision is not None:
            described["expected_revision"] = self.expected_revision
        return described

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Wishes":
        """The other way round."""
        expires_at = described.get("expires_at")
        return cls(
            described.get("expected_revision"),
            None if expires_at is None else datetime.fromisoformat(expires_at),
        )


class Nothing:
    """Begun by what has no effect."""

    def settle(self, state: State, document: object) -> None:
        """There is nothing to write."""

    def changed(self) -> DesiredChange | None:
        """Nothing is desired."""
        return None


class OneByOne(ABC):
    """Begins for many what can only be begun for each."""

    @abstractmethod
    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """As Effect.begin()."""

    def begin_all(
        self, agents: Sequence[str], by: Authorship, deadline_at: datetime
    ) -> list[Begun | ContractError]:
        """As Effect.begin_all()."""
        begun: list[Begun | ContractError] = []
        for agent in agents:
            try:
                begun.append(self.begin(agent, by, deadline_at))
            except ContractError as error:
                begun.append(error)
        return begun


class NoEffect(OneByOne):
    """For calls that change no state that is kept."""

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Writes nothing."""
        return Nothing()


@dataclass(frozen=True)
class BegunRevision:
    """A revision that waits for its outcome."""

    revision: ConfigRevision

    def settle(self, state: State, document: object) -> None:
        """Activates what the agent took."""
        answer = document if isinstance(document, Mapping) else {}
        errors = {str(key): str(why) for key, why in _mapping(answer, "errors").items()}
        if state in (State.SUCCEEDED, State.PARTIALLY_FAILED):
            updated: Values | Mapping[str, object] = (
                _mapping(answer, "updated")
                if "updated" in answer
                else configuration.requested_values(self.revision)
            )
            configuration.accept(self.revision, updated, errors)
        elif state is State.FAILED:
            why = str(answer.get("message", "The agent could not be called."))
            configuration.refuse(self.revision, errors or {configuration.ALL_KEYS: why})
        else:
            configuration.lose_sight(self.revision)

    def changed(self) -> DesiredChange | None:
        """The keys that another value is desired for."""
        if self.revision.state != RevisionState.ACTIVE:
            return None
        return DesiredChange(side(self.revision.diff, "from"), side(self.revision.diff, "to"))


@dataclass(frozen=True)
class ChangeConfiguration(OneByOne):
    """A new revision. `changes` has secrets in the clear."""

    changes: Values
    source: Source = Source.CHANGE
    expected: int | None = None
    restored_from: int | None = None

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Raises RevisionConflict and ChangeInProgress."""
        proposal = configuration.Proposal(
            self.changes, deadline_at, self.source, self.expected, self.restored_from
        )
        return BegunRevision(configuration.propose(agent, proposal, by))


@dataclass(frozen=True)
class BegunModeChange:
    """A change of a mode that waits for its outcome."""

    change: ModeChange

    def settle(self, state: State, document: object) -> None:
        """Makes it what is desired, if the agent did it."""
        if state is State.SUCCEEDED:
            modes.apply(self.change)
        elif state is State.FAILED:
            modes.refuse(self.change)
        else:
            modes.lose_sight(self.change)

    def changed(self) -> DesiredChange | None:
        """The switch, as it was meant before and is meant now."""
        change = self.change
        if change.state != ModeChangeState.APPLIED:
            return None
        name = f"{change.mode} {change.backend}".strip()
        before: dict[str, object] = {} if change.from_value is None else {name: change.from_value}
        return DesiredChange(before, {name: change.to_value})


def settle_all(settled: Sequence[tuple[Begun, State, object]]) -> None:
    """Settle what one operation began for different agents, in few statements."""
    applied: list[ModeChange] = []
    for begun, state, document in settled:
        if isinstance(begun, BegunModeChange) and state is State.SUCCEEDED:
            applied.append(begun.change)
        else:
            begun.settle(state, document)
    modes.apply_all(applied)


@dataclass(frozen=True)
class ChangeMode(OneByOne):
    """A new value of a mode."""

    wish: Wish

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Never refuses."""
        return BegunModeChange(modes.propose(agent, self.wish, by))

    def begin_all(
        self, agents: Sequence[str], by: Authorship, deadline_at: datetime
    ) -> list[Begun | ContractError]:
        """Never refuses."""
        changes = modes.propose_all(agents, self.wish, by)
        return [BegunModeChange(change) for change in changes]


@dataclass(frozen=True)
class RestoreConfiguration(OneByOne):
    """Puts values of the active revision back; that stays the active one."""

    number: int

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Raises Superseded if another revision is active, or about to be."""
        if not configuration.is_settled_at(agent, self.number):
            raise Superseded(agent)
        return Nothing()


@dataclass(frozen=True)
class RestoreMode(OneByOne):
    """Puts a mode back into what `change_id` made the desired value."""

    switch: Switch
    change_id: int

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Raises Superseded if something else is desired, or about to be."""
        desired = modes.find_desired(agent, self.switch)
        if desired is None or desired.change_id != self.change_id:
            raise Superseded(agent)
        if not modes.is_latest(desired.change):
            raise Superseded(agent)
        return Nothing()


@dataclass(frozen=True)
class ReplaceMode(OneByOne):
    """A new value in the place of what `change_id` made the desired one."""

    wish: Wish
    change_id: int

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Raises Superseded if the change is not the desired one any more."""
        RestoreMode(self.wish.switch, self.change_id).begin(agent, by, deadline_at)
        return BegunModeChange(modes.propose(agent, self.wish, by))


def effect_of(endpoint: Endpoint, values: Values, document: object, wishes: Wishes) -> Effect:
    """The effect of a call, with its parameters as read and its body, and wishes that
    go with it."""
    if endpoint.action == CONF_UPDATE:
        changes = cast(Values, document) if isinstance(document, dict) else {}
        return ChangeConfiguration(changes, expected=wishes.expected_revision)
    if endpoint.action in _MODES:
        mode, value = _MODES[endpoint.action]
        backend = str(values["backend_name"]).strip() if mode is Mode.BYPASS else ""
        return ChangeMode(Wish(Switch(mode, backend[:64]), value, wishes.expires_at))
    return NoEffect()


def check_wishes(endpoint: Endpoint, wishes: Wishes) -> None:
    """Raises ContractError (400) for wishes that do not go with the endpoint."""
    if wishes.expected_revision is not None and endpoint.action != CONF_UPDATE:
        raise ContractError(
            400,
            "Invalid parameter",
            "'expected_revision' goes with a change of the configuration only; leave it out.",
        )
    if wishes.expires_at is None:
        return
    if endpoint.group not in (Group.FREEZE, Group.HOT_CACHE, Group.BYPASS):
        raise ContractError(
            400,
            "Invalid parameter",
            "'expires_at' goes with freeze, hot cache and bypass only; leave it out.",
        )
    if wishes.expires_at <= timezone.now():
        raise ContractError(
            400, "Invalid parameter", "'expires_at' is over already; give a moment to come."
        )


def find_begun(operation_id: uuid.UUID, agent: str) -> Begun:
    """What an operation began for an agent, read back after a crash."""
    if (revision := configuration.find_part_of(operation_id, agent)) is not None:
        return BegunRevision(revision)
    if (change := modes.find_part_of(operation_id, agent)) is not None:
        return BegunModeChange(change)
    return Nothing()


def find_all_begun(operation_id: uuid.UUID, agents: Collection[str]) -> dict[str, Begun]:
    """As find_begun(), for those of the agents for which anything began. Two queries."""
    changes = modes.find_parts_of(operation_id, agents)
    revisions = configuration.find_parts_of(operation_id, agents)
    return {
        **{change.agent: BegunModeChange(change) for change in changes},
        **{revision.agent: BegunRevision(revision) for revision in revisions},
    }


def call_for(switch: Switch, *, value: bool) -> tuple[str, str]:
    """Operation id and query string of the call that turns the switch."""
    if switch.mode is Mode.BYPASS:
        return ("add_bypass" if value else "remove_bypass"), urlencode(
            {"backend_name": switch.backend}
        )
    return f"{'enable' if value else 'disable'}_{switch.mode.value}", ""


def _mapping(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def is_undoable(endpoint: Endpoint) -> bool:
    """Whether what a call did can be taken back: what was before is known."""
    return endpoint.action == CONF_UPDATE or endpoint.action in _MODES
