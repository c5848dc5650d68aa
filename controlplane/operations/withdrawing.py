"""What it means to take back a change of which nobody knows whether it was made."""

from dataclasses import dataclass
from datetime import datetime

from controlplane.audit.authorship import Authorship
from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.modes import services as modes
from controlplane.modes.models import ModeChange
from controlplane.modes.services import Wish
from controlplane.operations.effects import (
    Begun,
    BegunModeChange,
    Nothing,
    OneByOne,
    Superseded,
)


@dataclass(frozen=True)
class WithdrawMode(OneByOne):
    """A new value in the place of one that may never have been taken. Whatever is learnt
    of `change` later, it is overtaken."""

    wish: Wish
    change: ModeChange

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Raises Superseded if something else was asked for since."""
        if not modes.is_latest(self.change):
            raise Superseded(agent)
        return BegunModeChange(modes.propose(agent, self.wish, by))


@dataclass(frozen=True)
class WithdrawRevision(OneByOne):
    """Puts values of the parent back, which stays the active revision. Whatever is
    learnt of `revision` later, it is given up."""

    revision: ConfigRevision

    def begin(self, agent: str, by: Authorship, deadline_at: datetime) -> Begun:
        """Raises Superseded if something else was asked for since."""
        if not configuration.withdraw(self.revision):
            raise Superseded(agent)
        return Nothing()
