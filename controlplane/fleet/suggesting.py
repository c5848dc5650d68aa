"""Names that a person who fills in a form can choose from."""

from controlplane.fleet.models import Agent, Engine
from controlplane.fleet.services import MAX_CANDIDATES


def agent_names() -> list[str]:
    """The names of agents that have not left, in order; at most MAX_CANDIDATES."""
    return list(
        Agent.objects.filter(left_at=None)
        .order_by("name")
        .values_list("name", flat=True)[:MAX_CANDIDATES]
    )


def engine_names() -> list[str]:
    """The names of engines, in order; at most MAX_CANDIDATES."""
    return list(Engine.objects.order_by("name").values_list("name", flat=True)[:MAX_CANDIDATES])
