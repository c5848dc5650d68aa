"""Which of the agents that answered need care, in a few queries for all of them."""

from collections.abc import Sequence

from django.utils import timezone

from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.modes import services as modes
from controlplane.modes.models import DesiredMode, ModeChange, ModeChangeState
from controlplane.modes.services import Switch
from controlplane.reconcile.drift import compare_modes, unset_modes
from controlplane.reconcile.sighting import Sighting


def needing_care(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Those of which anything is unknown, overdue, or otherwise than it should be."""
    answered = [sighting for sighting in sightings if sighting.answered]
    names = [sighting.watch.agent.name for sighting in answered]
    desired = modes.desired_of(names)
    registered = {sighting.watch.agent.name: sighting.watch.agent for sighting in answered}
    active = {
        agent: (number, complete and created_at >= registered[agent].registered_at)
        for agent, number, complete, created_at in ConfigRevision.objects.filter(
            agent__in=names, state=RevisionState.ACTIVE
        ).values_list("agent", "number", "complete", "created_at")
    }
    unknown = set(
        ConfigRevision.objects.filter(agent__in=names, state=RevisionState.UNKNOWN).values_list(
            "agent", flat=True
        )
    ) | set(
        ModeChange.objects.filter(agent__in=names, state=ModeChangeState.UNKNOWN).values_list(
            "agent", flat=True
        )
    )
    return [
        sighting
        for sighting in answered
        if sighting.watch.agent.name in unknown
        or _has_other_configuration(sighting, active.get(sighting.watch.agent.name))
        or _is_in_other_modes(sighting, desired[sighting.watch.agent.name])
    ]


def _has_other_configuration(sighting: Sighting, active: tuple[int, bool] | None) -> bool:
    watch = sighting.watch
    if active is None or not active[1] or watch.drift or watch.attempts:
        return True
    return (
        (bool(sighting.boot_id) and sighting.boot_id != watch.boot_id)
        or sighting.conf_hash != watch.verified_hash
        or active[0] != watch.verified_revision
    )


def _is_in_other_modes(sighting: Sighting, desired: dict[Switch, DesiredMode]) -> bool:
    now = timezone.now()
    if any(row.is_to_be_ended(now) for row in desired.values()):
        return True
    if not sighting.has_cache:
        return not sighting.watch.modes_known
    observed = sighting.modes()
    return bool(
        not sighting.watch.modes_known
        or compare_modes(desired, observed)
        or unset_modes(desired, observed)
    )
