"""Which modes of agents are switched."""

from collections.abc import Sequence
from typing import Any

from controlplane.modes.models import DesiredMode, Mode


def attach_modes(agents: Sequence[Any]) -> None:
    """Give each agent `modes`: what of it is switched otherwise than at the start, as it
    should be; in one query."""
    by_name: dict[str, list[DesiredMode]] = {agent.name: [] for agent in agents}
    for desired in DesiredMode.objects.filter(agent__in=by_name).order_by("mode", "backend"):
        if desired.value != (desired.mode == Mode.HOT_CACHE):
            by_name[desired.agent].append(desired)
    for agent in agents:
        agent.modes = by_name[agent.name]
