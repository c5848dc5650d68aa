"""The fleet as the table shows it: few queries, whatever the number of agents."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models.fields.json import KeyTextTransform

from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.dashboard.rates import Rate, Usage, hit_rate, memory_use
from controlplane.dashboard.switches import Badge, Tone, mode_badges, observed_modes
from controlplane.fleet.models import Agent, Dialect, Engine, Health
from controlplane.modes.models import DesiredMode
from controlplane.reconcile.models import Watch
from engine.contract import Role

_LEFT = "left"


@dataclass(frozen=True)
class AgentRow:
    """One agent. None is what nobody knows."""

    name: str
    engine: str
    role: str
    worker_id: int | None
    health: str
    """`online`, `unknown`, `offline`, or `left` for a process that said that it ends."""
    health_since: datetime | None
    model: str
    version: str
    program: str
    desired: int | None
    """The revision that it should have."""
    observed: int | None
    """The revision that it was found to have."""
    differs: bool
    """Whether it was found to have other values than it should."""
    badges: Sequence[Badge]
    hits: Rate | None
    memory: Usage | None
    last_seen_at: datetime | None
    labels: Mapping[str, str]
    """Its own before those of its engine."""
    own_labels: Mapping[str, str]
    tells_modes: bool
    """Whether it told what it is in; a scheduler has nothing to tell."""

    @property
    def is_as_usual(self) -> bool:
        """Whether it is known to be in nothing worth telling."""
        return self.health == Health.ONLINE and self.tells_modes and not self.badges

    @property
    def short_model(self) -> str:
        """The last part of the model's name."""
        return self.model.rpartition("/")[2]

    def has(self, kind: str) -> bool:
        """Whether it has a badge of that kind."""
        return any(badge.kind == kind for badge in self.badges)


@dataclass
class EngineRows:
    """An engine and those of its agents that are shown."""

    pk: int
    name: str
    labels: Mapping[str, str]
    rows: list[AgentRow] = field(default_factory=list)


@dataclass(frozen=True)
class _Revision:
    number: int
    model: str


def read_fleet() -> list[EngineRows]:
    """Every engine with its agents, by name. Four queries."""
    engines = {row.pk: EngineRows(row.pk, row.name, row.labels) for row in Engine.objects.all()}
    modes = _desired_modes()
    revisions = _active_revisions()
    agents = Agent.objects.select_related("watch").defer("encrypted_token")
    for agent in agents.order_by("role", "worker_id", "name"):
        # One that was made since has an engine that was not read.
        if (engine := engines.get(agent.engine_id)) is not None:
            row = _row(agent, engine, modes.get(agent.name, []), revisions.get(agent.name))
            engine.rows.append(row)
    return list(engines.values())


def agent_row(agent: Agent, modes: list[DesiredMode], revision: ConfigRevision | None) -> AgentRow:
    """One agent as the table shows it. Its engine must be loaded."""
    engine = EngineRows(agent.engine.pk, agent.engine.name, agent.engine.labels)
    known = None
    if revision is not None:
        known = _Revision(revision.number, str(revision.values.get("model_name") or ""))
    return _row(agent, engine, modes, known)


def _desired_modes() -> dict[str, list[DesiredMode]]:
    found: dict[str, list[DesiredMode]] = defaultdict(list)
    for row in DesiredMode.objects.select_related("change"):
        found[row.agent].append(row)
    return found


def _active_revisions() -> dict[str, _Revision]:
    rows = ConfigRevision.objects.filter(state=RevisionState.ACTIVE).annotate(
        model=KeyTextTransform("model_name", "values")
    )
    return {
        agent: _Revision(number, model or "")
        for agent, number, model in rows.values_list("agent", "number", "model")
    }


def _row(
    agent: Agent, engine: EngineRows, modes: list[DesiredMode], revision: _Revision | None
) -> AgentRow:
    status: Mapping[str, object] = agent.last_status
    watch: Watch | None = getattr(agent, "watch", None)
    program, version = _version(agent, status)
    return AgentRow(
        name=agent.name,
        engine=engine.name,
        role=agent.role,
        worker_id=agent.worker_id,
        health=agent.health if agent.left_at is None else _LEFT,
        health_since=agent.health_since if agent.left_at is None else agent.left_at,
        model=revision.model if revision is not None and revision.model else _model(status),
        version=version,
        program=program,
        desired=None if revision is None else revision.number,
        observed=_observed_revision(watch, status),
        differs=watch is not None and "configuration" in watch.drift,
        badges=[*_drift_badges(watch), *mode_badges(agent, modes)],
        hits=hit_rate(status),
        memory=memory_use(status),
        last_seen_at=agent.last_seen_at,
        labels={**engine.labels, **agent.labels},
        own_labels=agent.labels,
        tells_modes=agent.role == Role.SCHEDULER or bool(observed_modes(agent)),
    )


def _version(agent: Agent, status: Mapping[str, object]) -> tuple[str, str]:
    versions = status.get("versions")
    name = "lmcache" if agent.dialect == Dialect.LMCACHE else "kvplane"
    found = versions.get(name) if isinstance(versions, Mapping) else None
    program = "LMCache" if agent.dialect == Dialect.LMCACHE else "KVPlane"
    return program, found if isinstance(found, str) else ""


def _model(status: Mapping[str, object]) -> str:
    # An LMCache process tells it here only.
    meta = status.get("meta")
    model = meta.get("model_name") if isinstance(meta, Mapping) else None
    return model if isinstance(model, str) else ""


def _observed_revision(watch: Watch | None, status: Mapping[str, object]) -> int | None:
    """The one that the control loop compared the agent with, unless the agent's
    configuration is another one since."""
    if watch is None or not watch.verified_hash:
        return None
    return watch.verified_revision if status.get("conf_hash") == watch.verified_hash else None


def _drift_badges(watch: Watch | None) -> list[Badge]:
    if watch is None or not watch.drift:
        return []
    # PostgreSQL gives keys back in an order of its own.
    keys = [*sorted(watch.drift.get("configuration", {})), *sorted(watch.drift.get("modes", {}))]
    named = ", ".join(keys)
    if watch.gave_up_at is not None:
        return [Badge("drift", "drift, repairs ended", Tone.BAD, f"{named}. {watch.last_error}")]
    if len(keys) == 1:
        return [Badge("drift", f"drift: {named}", Tone.BAD)]
    return [Badge("drift", f"drift: {len(keys)} settings", Tone.BAD, named)]
