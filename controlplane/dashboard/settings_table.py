"""An agent's configuration, key by key: as it should be, and as it is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.audit.difference import same
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.schema import Keys, mutable_keys
from controlplane.configuration.values import Diff
from controlplane.fleet.models import Agent
from controlplane.reconcile.models import Watch


class Holder(StrEnum):
    """Who has a key."""

    BOTH = "both"
    WISHES = "wishes"
    """Only the revision: the agent does not know the key."""
    AGENT = "agent"
    """Only the agent: the revision says nothing of it."""


class Waits(StrEnum):
    """For what a value waits before it counts."""

    NOTHING = ""
    RECREATE = "until the lookup is recreated"
    RESTART = "until the agent is restarted"


@dataclass(frozen=True)
class SettingRow:
    """One key. `effective` is what the agent was found to have, and means nothing unless
    that `is_known`."""

    key: str
    desired: object
    effective: object
    is_known: bool
    help: str
    holder: Holder = Holder.BOTH
    waits: Waits = Waits.NOTHING

    @property
    def differs(self) -> bool:
        """Whether the agent was found to have another value than it should."""
        is_same = self.holder is Holder.BOTH and same(self.desired, self.effective)
        return self.is_known and not is_same


@dataclass(frozen=True)
class SettingsTable:
    """Keys that can be changed while the agent runs, and those that it takes at its start
    only. Without a schema nobody can tell, and all of them are `live`."""

    live: Sequence[SettingRow]
    fixed: Sequence[SettingRow]


def was_compared(revision: ConfigRevision, agent: Agent, watch: Watch | None) -> bool:
    """Whether the control loop compared what the agent has with this revision, and the
    agent has not told of another configuration since."""
    if watch is None or agent.last_seen_at is None or not revision.complete:
        return False
    if revision.settled_at is None or revision.settled_at >= agent.last_seen_at:
        return False
    if "configuration" in watch.drift:
        return _is_of(watch.drift["configuration"], revision)
    has_it = bool(watch.verified_hash) and agent.last_status.get("conf_hash") == watch.verified_hash
    return has_it and watch.verified_revision == revision.number


def settings_of(
    revision: ConfigRevision,
    agent: Agent,
    watch: Watch | None,
    keys: Keys,
    waiting: Collection[str],
) -> SettingsTable:
    """Every key of the revision, and those that only the agent was found to have; those
    that differ first. `waiting` are keys whose value the lookup has not taken up."""
    is_known = was_compared(revision, agent, watch)
    drift: Diff = {} if watch is None or not is_known else watch.drift.get("configuration", {})
    settable = mutable_keys(keys) if keys else {*revision.values}
    rows = [
        SettingRow(
            key,
            revision.values.get(key),
            drift[key].get("from") if key in drift else revision.values[key],
            is_known,
            str(keys.get(key, {}).get("help", "")),
            _holder(key, revision, drift),
            _waits(key, drift, settable, waiting),
        )
        for key in {**revision.values, **drift}
    ]
    rows.sort(key=lambda row: (not row.differs, row.key))
    return SettingsTable(
        live=[row for row in rows if row.differs or row.key in settable],
        fixed=[row for row in rows if not row.differs and row.key not in settable],
    )


def _is_of(drift: Diff, revision: ConfigRevision) -> bool:
    """Whether it was this revision that the agent was found to differ from."""
    return all(
        same(sides["to"], revision.values.get(key)) for key, sides in drift.items() if "to" in sides
    )


def _holder(key: str, revision: ConfigRevision, drift: Diff) -> Holder:
    if key not in revision.values:
        return Holder.AGENT
    return Holder.WISHES if key in drift and "from" not in drift[key] else Holder.BOTH


def _waits(key: str, drift: Diff, settable: Collection[str], waiting: Collection[str]) -> Waits:
    if key in waiting:
        return Waits.RECREATE
    is_wanted_otherwise = "to" in drift.get(key, {})
    return Waits.RESTART if is_wanted_otherwise and key not in settable else Waits.NOTHING
