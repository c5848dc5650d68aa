"""Making and settling revisions. Each function runs in the caller's transaction."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from controlplane.audit.authorship import Authorship
from controlplane.configuration.errors import (
    ChangeInProgress,
    RevisionConflict,
    RevisionNotFound,
)
from controlplane.configuration.models import (
    ConfigRevision,
    ConfigSchema,
    RevisionState,
    Source,
)
from controlplane.configuration.schema import Keys, secret_keys
from controlplane.configuration.values import Diff, Values, difference, hidden_part, same, show
from controlplane.fleet.models import Agent
from controlplane.fleet.vault import seal, unseal

_OPEN = (RevisionState.PENDING, RevisionState.UNKNOWN)
_SETTLED_FIELDS = ("parent", "state", "values", "diff", "refused", "sealed", "complete")
# SQLite refuses conditions that are nested deeper than a thousand.
_PAIRS_AT_ONCE = 100
ALL_KEYS = "*"
"""Stands in `refused` for every key that was asked for."""


@dataclass(frozen=True)
class Proposal:
    """A change that is about to be sent. `changes` has secrets in the clear;
    `expected` is the number that the writer believes to be active, None if any will
    do; `restored_from` is None unless it is a rollback."""

    changes: Values
    deadline_at: datetime
    source: Source = Source.CHANGE
    expected: int | None = None
    restored_from: int | None = None


@dataclass(frozen=True)
class Observed:
    """What an agent says of its configuration: `values` as it shows them, and its
    schema, empty for an agent that has none to tell."""

    values: Values
    keys: Keys
    after: int | None = None
    """The number of the agent's last revision when it was asked; None if that does not
    matter."""


def find_active(agent: str) -> ConfigRevision | None:
    """The revision that the agent should have; None: nothing is known yet."""
    return ConfigRevision.objects.filter(agent=agent, state=RevisionState.ACTIVE).first()


def active_of(agents: Collection[str]) -> dict[str, ConfigRevision]:
    """As find_active(), for those of the agents of which anything is known. One query."""
    found = ConfigRevision.objects.filter(agent__in=agents, state=RevisionState.ACTIVE)
    return {revision.agent: revision for revision in found}


def parents_of(revisions: Collection[ConfigRevision]) -> dict[str, ConfigRevision]:
    """By agent, what each of the revisions was made from, one of an agent; those that were
    made from nothing are left out. A query for a hundred of them."""
    found: dict[str, ConfigRevision] = {}
    made = [revision for revision in revisions if revision.parent is not None]
    for start in range(0, len(made), _PAIRS_AT_ONCE):
        either = Q()
        for revision in made[start : start + _PAIRS_AT_ONCE]:
            either |= Q(agent=revision.agent, number=revision.parent)
        found.update((parent.agent, parent) for parent in ConfigRevision.objects.filter(either))
    return found


def find_revision(agent: str, number: int) -> ConfigRevision:
    """The revision of that number. Raises RevisionNotFound."""
    found = ConfigRevision.objects.filter(agent=agent, number=number).first()
    if found is None:
        raise RevisionNotFound(agent, f"revision {number}")
    return found


def find_part_of(operation_id: uuid.UUID, agent: str) -> ConfigRevision | None:
    """The revision that an operation made, or tried to make, for the agent; None for
    an operation that does not change configurations."""
    return ConfigRevision.objects.filter(operation_id=operation_id, agent=agent).first()


def find_parts_of(operation_id: uuid.UUID, agents: Collection[str]) -> QuerySet[ConfigRevision]:
    """As find_part_of(), for each of the agents that has one."""
    return ConfigRevision.objects.filter(operation_id=operation_id, agent__in=agents)


def is_settled_at(agent: str, number: int) -> bool:
    """Whether that revision is active and none is on its way."""
    open_or_active = ConfigRevision.objects.filter(
        agent=agent, state__in=(RevisionState.ACTIVE, *_OPEN)
    )
    return list(open_or_active.values_list("number", "state")) == [(number, RevisionState.ACTIVE)]


def last_numbers(agents: Collection[str]) -> dict[str, int]:
    """The number of each agent's last revision; 0 if there is none."""
    found = ConfigRevision.objects.filter(agent__in=agents).values_list("agent")
    return {**dict.fromkeys(agents, 0), **dict(found.annotate(Max("number")))}


def known_secrets(agents: Collection[str]) -> frozenset[str]:
    """The keys that the schema of any of these agents marks secret. Of an agent that has
    not told its schema yet, those that any agent's marks."""
    schemas = list(ConfigSchema.objects.filter(agent__in=agents))
    if len(schemas) < len(set(agents)):
        schemas = list(ConfigSchema.objects.all())
    return frozenset().union(*(secret_keys(schema.keys) for schema in schemas))


def known_schema(agent: str) -> Keys:
    """The schema that the agent told last; empty if it never told one."""
    known = ConfigSchema.objects.filter(agent=agent).first()
    return {} if known is None else known.keys


def known_schemas(agents: Collection[str]) -> dict[str, Keys]:
    """As known_schema(), for those of the agents that told one. One query."""
    return dict(ConfigSchema.objects.filter(agent__in=agents).values_list("agent", "keys"))


def real_values(revision: ConfigRevision) -> dict[str, object]:
    """The values with the secrets that are known in the clear. Raises
    UnreadableSecret."""
    hidden = unseal(revision.sealed).get("values", {})
    return {**revision.values, **(hidden if isinstance(hidden, dict) else {})}


def requested_values(revision: ConfigRevision) -> dict[str, object]:
    """What was asked for, secrets in the clear. Raises UnreadableSecret."""
    hidden = unseal(revision.sealed).get("requested", {})
    return {**revision.requested, **(hidden if isinstance(hidden, dict) else {})}


def propose(agent: str, proposal: Proposal, by: Authorship) -> ConfigRevision:
    """Put a pending revision on record, before the agent is called.

    Raises RevisionConflict if another one than expected is active, and
    ChangeInProgress while another one is pending: what came of that decides what
    this one builds on.
    """
    lock([agent])
    _give_up_waiting(agent)
    pending = ConfigRevision.objects.filter(agent=agent, state=RevisionState.PENDING).first()
    if pending is not None:
        raise ChangeInProgress(agent, pending.number, str(pending.operation_id or ""))
    active = find_active(agent)
    check_expected(agent, active, proposal.expected)
    hidden_keys = known_secrets([agent])
    base = {} if active is None else real_values(active)
    revision = ConfigRevision(
        agent=agent,
        number=_last_number(agent) + 1,
        parent=None if active is None else active.number,
        restored_from=proposal.restored_from,
        state=RevisionState.PENDING,
        source=proposal.source,
        requested=show(proposal.changes, hidden_keys),
        complete=active is not None and active.complete,
        created_at=timezone.now(),
        deadline_at=proposal.deadline_at,
        **by.fields(),
    )
    _fill(revision, base, {**base, **proposal.changes}, proposal.changes, hidden_keys)
    revision.save(force_insert=True)
    return revision


def check_expected(agent: str, active: ConfigRevision | None, expected: int | None) -> None:
    """Raises RevisionConflict, with what changed in between, unless `expected` is
    active; 0 expects that there is none yet, None expects nothing."""
    number = 0 if active is None else active.number
    if expected is None or expected == number:
        return
    raise RevisionConflict(agent, expected, number, _diff_since(agent, expected, active))


def accept(revision: ConfigRevision, updated: Values, refused: Mapping[str, str]) -> None:
    """The agent took `updated`, as it now reads them, and refused the rest: the
    revision becomes the active one, with what did apply. One that was given up
    meanwhile, and overtaken by another, does not."""
    lock([revision.agent])
    current = ConfigRevision.objects.filter(pk=revision.pk, state__in=_OPEN).first()
    if current is None:
        return
    active = find_active(revision.agent)
    overtaken = ConfigRevision.objects.filter(
        agent=revision.agent, number__gt=revision.number
    ).exclude(state=RevisionState.FAILED)
    if overtaken.exists():
        _close(current, RevisionState.FAILED, {ALL_KEYS: "A later change overtook this one."})
        return
    hidden_keys = known_secrets([revision.agent])
    base = {} if active is None else real_values(active)
    current.parent = None if active is None else active.number
    current.refused = dict(refused)
    current.complete = active is not None and active.complete
    requested = requested_values(current)
    taken = {key: _as_taken(requested, key, value) for key, value in updated.items()}
    _fill(current, base, {**base, **taken}, requested, hidden_keys)
    _activate(current, active)
    revision.refresh_from_db()


def refuse(revision: ConfigRevision, refused: Mapping[str, str]) -> None:
    """The agent has nothing of it: the attempt stays on record as failed. `refused`
    says why, key by key or under ALL_KEYS."""
    _close(revision, RevisionState.FAILED, refused)


def lose_sight(revision: ConfigRevision) -> None:
    """Nobody knows what the agent did with it, until the control loop asks."""
    _close(revision, RevisionState.UNKNOWN, {})


def withdraw(revision: ConfigRevision) -> bool:
    """Give up a revision of which nobody knows what the agent did with it, because its
    parent is put back; whether it could still be, as nothing came after it."""
    lock([revision.agent])
    active = find_active(revision.agent)
    later = ConfigRevision.objects.filter(agent=revision.agent, number__gt=revision.number)
    if active is None or active.number != revision.parent:
        return False
    if later.exclude(state=RevisionState.FAILED).exists():
        return False
    _close(revision, RevisionState.FAILED, {ALL_KEYS: "It was taken back, done or not."})
    return revision.state == RevisionState.FAILED


def import_observed(
    agent: str, observed: Observed, source: Source, by: Authorship
) -> ConfigRevision:
    """Make what the agent has now the active revision, without a call.

    Secrets that the control plane knows stay known: the agent shows `***` for them.
    Raises ChangeInProgress, also if a revision was made since the agent was asked: what
    it said then is not what it has now.
    """
    lock([agent])
    last = _last_number(agent)
    if observed.after is not None and observed.after != last:
        raise ChangeInProgress(agent, last, "")
    remember_schema(agent, observed.keys)
    known: dict[str, object] = {}
    if (active := find_active(agent)) is not None:
        known = real_values(active)
        shown = show(known, secret_keys(observed.keys))
        known = {
            key: known[key]
            for key, value in observed.values.items()
            if key in known and same(shown[key], value)
        }
    proposal = Proposal({**observed.values, **known}, timezone.now(), source)
    revision = propose(agent, proposal, by)
    hidden_keys = secret_keys(observed.keys)
    base = {} if active is None else real_values(active)
    changes = dict(proposal.changes)
    revision.requested = {}
    revision.complete = True
    _fill(revision, base, changes, {}, hidden_keys)
    if active is None:
        revision.diff = {}
    _activate(revision, active)
    return revision


def remember_schema(agent: str, keys: Keys) -> None:
    """Keep what the agent says about its keys, unless it says nothing."""
    if not keys:
        return
    ConfigSchema.objects.update_or_create(
        agent=agent, defaults={"keys": dict(keys), "read_at": timezone.now()}
    )


def _activate(revision: ConfigRevision, active: ConfigRevision | None) -> None:
    if active is not None:
        ConfigRevision.objects.filter(pk=active.pk).update(state=RevisionState.SUPERSEDED)
    revision.state = RevisionState.ACTIVE
    revision.settled_at = timezone.now()
    revision.save(update_fields=[*_SETTLED_FIELDS, "requested", "settled_at"])


def _close(revision: ConfigRevision, state: RevisionState, refused: Mapping[str, str]) -> None:
    ConfigRevision.objects.filter(pk=revision.pk, state__in=_OPEN).update(
        state=state, refused=dict(refused), settled_at=timezone.now()
    )
    revision.refresh_from_db()


def _fill(
    revision: ConfigRevision,
    base: Values,
    values: Values,
    requested: Values,
    hidden_keys: frozenset[str],
) -> None:
    """Write values, their diff to `base` and what is sealed."""
    revision.values = show(values, hidden_keys)
    revision.diff = {
        key: _shown_difference(entry, key, hidden_keys)
        for key, entry in difference(base, values).items()
    }
    sealed = {
        "values": hidden_part(values, revision.values),
        "requested": hidden_part(requested, show(requested, hidden_keys)),
    }
    revision.sealed = seal(sealed) if any(sealed.values()) else ""


def _shown_difference(
    entry: dict[str, object], key: str, hidden_keys: frozenset[str]
) -> dict[str, object]:
    return {
        side: value if side == "absent" else show({key: value}, hidden_keys)[key]
        for side, value in entry.items()
    }


def _as_taken(requested: Values, key: str, value: object) -> object:
    """The value that the agent says it took; where it shows `***`, what was sent."""
    if key in requested and same(show({key: requested[key]}, ())[key], value):
        return requested[key]
    return requested[key] if value == "***" and key in requested else value


def _diff_since(agent: str, expected: int, active: ConfigRevision | None) -> Diff:
    if active is None:
        return {}
    known = ConfigRevision.objects.filter(agent=agent, number=expected).first()
    return {} if known is None else difference(known.values, active.values)


def _give_up_waiting(agent: str) -> None:
    """What should have been answered long ago must not hold up what comes next."""
    ConfigRevision.objects.filter(
        agent=agent, state=RevisionState.PENDING, deadline_at__lt=timezone.now()
    ).update(state=RevisionState.UNKNOWN, settled_at=timezone.now())


def _last_number(agent: str) -> int:
    found = ConfigRevision.objects.filter(agent=agent).aggregate(last=Max("number"))
    return found["last"] or 0


def lock(agents: Collection[str]) -> None:
    """Let one transaction at a time make revisions of these agents. On SQLite every
    transaction that writes has that already. Whoever locks several does it at once,
    in the order of names, so that nobody waits in a circle."""
    # Not the key: rows that refer to an agent may be written meanwhile.
    rows = Agent.objects.select_for_update(no_key=True).order_by("name")
    list(rows.filter(name__in=agents).values_list("pk"))
