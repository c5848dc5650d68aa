"""How an agent differs from what it should be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils import timezone

from controlplane.configuration.schema import Keys, mutable_keys
from controlplane.configuration.values import Diff, Values, difference
from controlplane.modes.models import DesiredMode, Mode
from controlplane.modes.services import Switch


@dataclass(frozen=True)
class ConfigDrift:
    """`live`: keys that can be put back, from what is there to what should be.
    `fixed`: what differs and only a restart could change."""

    live: Diff = field(default_factory=dict)
    fixed: Diff = field(default_factory=dict)


@dataclass(frozen=True)
class ModeDrift:
    """A switch that is not as it should be."""

    desired: DesiredMode
    observed: bool


def compare_configuration(
    desired: Values, observed: Values, keys: Keys, managed: frozenset[str]
) -> ConfigDrift:
    """What differs. Without a schema only keys in `managed`, that somebody set through
    the control plane, can be put back."""
    settable = mutable_keys(keys) if keys else managed
    drift = ConfigDrift()
    for key, entry in difference(observed, desired).items():
        is_live = key in settable and key in observed and key in desired
        (drift.live if is_live else drift.fixed)[key] = entry
    return drift


def compare_modes(
    desired: Mapping[Switch, DesiredMode], observed: Mapping[Switch, bool]
) -> list[ModeDrift]:
    """The switches that somebody set and that are otherwise now. One whose time is up is
    not put back: it is to be reverted."""
    drifts = []
    now = timezone.now()
    for switch, wanted in desired.items():
        if wanted.is_over(now):
            continue
        if switch.mode is not Mode.BYPASS and switch not in observed:
            # This process has no such switch.
            continue
        value = observed.get(switch, False)
        if value != wanted.value:
            drifts.append(ModeDrift(wanted, value))
    return drifts


def unset_modes(
    desired: Mapping[Switch, DesiredMode], observed: Mapping[Switch, bool]
) -> dict[Switch, bool]:
    """Switches about which nothing is kept yet, as they are."""
    return {switch: value for switch, value in observed.items() if switch not in desired}


def describe(config: Diff, modes: list[ModeDrift]) -> dict[str, object]:
    """The drift as it is shown: from what is there to what should be."""
    shown: dict[str, object] = {}
    if config:
        shown["configuration"] = config
    for drift in modes:
        name = drift.desired.mode
        if drift.desired.backend:
            name = f"{name} {drift.desired.backend}"
        shown.setdefault("modes", {})
        shown["modes"][name] = {"from": drift.observed, "to": drift.desired.value}  # type: ignore[index]
    return shown
