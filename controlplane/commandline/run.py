"""One run of a command, and what it is made of."""

import json
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from controlplane.audit.actors import Actor
from controlplane.audit.redaction import redact_named
from controlplane.commandline.told import Told

# How a command runs, not what it is asked for.
_LEFT_OUT = frozenset(
    {"settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks", "verbosity"}
    | {"json", "reason", "verb", "dry_run", "stdout", "stderr"}
)


@dataclass(frozen=True)
class Run:
    """`name` is the command with its verb, `options` what argparse read."""

    name: str
    options: Mapping[str, Any]
    actor: Actor
    request_id: str
    stdout: TextIO = field(repr=False)
    """For what is too long to be told in one piece."""

    @property
    def is_dry(self) -> bool:
        """Whether it was only asked what would be done."""
        return bool(self.options.get("dry_run"))


class Verb(ABC):
    """What a command can do: one of several, or all that it does."""

    name: str
    """As it is typed; "" for what is all that a command does."""
    help: str
    operation_ids: tuple[str, ...] = ()
    """The documented endpoints that it calls."""

    @abstractmethod
    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare its arguments, besides --json."""

    @abstractmethod
    def run(self, run: Run) -> Told:
        """Do it. Raises one of refusals.REFUSALS."""

    def on_record(self, options: Mapping[str, Any]) -> dict[str, object]:
        """The arguments that somebody gave, as they may stand in the log."""
        return {
            name: redact_named(name, json.loads(json.dumps(value, default=str)))
            for name, value in options.items()
            if name not in _LEFT_OUT and value not in (None, False, [], "")
        }

    def is_change(self, run: Run) -> bool:
        """Whether this run is to be on record whatever comes of it."""
        return False

    def reads(self, run: Run) -> str:
        """What it reads, as KVPLANE_AUDIT_READS calls it; "" for nothing of that kind."""
        return ""
