"""What a poll of an agent brought."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controlplane.forwarding import AgentFailure
from controlplane.modes.models import Mode
from controlplane.modes.services import Switch
from controlplane.reconcile.models import Watch


@dataclass(frozen=True)
class Sighting:
    """One answer, or none. `asked_at` is before the question was sent: what changed
    since may not be in the answer."""

    watch: Watch
    asked_at: datetime
    answered_at: datetime
    result: Mapping[str, object] | AgentFailure

    @property
    def status(self) -> Mapping[str, object]:
        """What the agent said; empty if it said nothing."""
        return {} if isinstance(self.result, AgentFailure) else self.result

    @property
    def answered(self) -> bool:
        """Whether it said anything."""
        return not isinstance(self.result, AgentFailure)

    @property
    def boot_id(self) -> str:
        """Of its process; "" if the agent has none."""
        return _text(self.status.get("boot_id"))

    @property
    def conf_hash(self) -> str:
        """Of its configuration; "" if unknown."""
        return _text(self.status.get("conf_hash"))

    def modes(self) -> dict[Switch, bool]:
        """The switches that the agent has, as they are. Backends that are not bypassed
        are left out."""
        observed: dict[Switch, bool] = {}
        for mode in (Mode.FREEZE, Mode.HOT_CACHE):
            value = self.status.get(mode.value)
            if isinstance(value, bool):
                observed[Switch(mode)] = value
        bypassed = self.status.get("bypassed_backends")
        if isinstance(bypassed, list) and self.has_cache:
            for name in bypassed:
                if isinstance(name, str):
                    observed[Switch(Mode.BYPASS, name[:64])] = True
        return observed

    @property
    def has_cache(self) -> bool:
        """Whether there is a cache engine, so that modes mean something."""
        return isinstance(self.status.get(Mode.FREEZE.value), bool)


def _text(value: object) -> str:
    return value[:64] if isinstance(value, str) else ""
