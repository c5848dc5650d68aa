"""Everything about one agent, as its page shows it."""

from dataclasses import dataclass

from controlplane.adminsite import show
from controlplane.adminsite.switched import attach_modes
from controlplane.audit.models import AuditEntry
from controlplane.configuration.services import find_active
from controlplane.fleet.models import Agent
from controlplane.operations.models import OperationTarget
from controlplane.reconcile.models import Watch

_RECENT = 5


@dataclass(frozen=True)
class Place:
    """A list that belongs to the agent."""

    label: str
    url: str
    told: str = ""


def overview(agent: Agent) -> dict[str, object]:
    """The agent's state, the lists that belong to it, and what happened last; in a
    handful of queries that each read a few rows of an index."""
    attach_modes([agent])
    active = find_active(agent.name)
    watch = Watch.objects.filter(agent=agent).first()
    recent = OperationTarget.objects.filter(agent=agent.name).select_related("operation")
    return {
        "agent": agent,
        "active": active,
        "watch": watch,
        "places": _places(agent),
        "operations": recent.order_by("-id")[:_RECENT],
        "entries": AuditEntry.objects.filter(agent=agent.name).order_by("-id")[:_RECENT],
    }


def _places(agent: Agent) -> list[Place]:
    lists = (
        ("Revisions", "configuration_configrevision"),
        ("Modes", "modes_desiredmode"),
        ("Mode changes", "modes_modechange"),
        ("Operations", "operations_operation"),
        ("Chunk statistics", "statistics_chunkstatisticssnapshot"),
        ("Tier statistics", "statistics_tierstatisticssnapshot"),
        ("Audit entries", "audit_auditentry"),
    )
    return [Place(label, show.list_url(model, agent=agent.name)) for label, model in lists]
