"""`manage.py rotate_audit_key [--reason …]`."""

from argparse import ArgumentParser

from controlplane.audit.keys import key_ring
from controlplane.audit.rotating import rotate_key
from controlplane.commandline.base import DoorCommand
from controlplane.commandline.planning import reason_of
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told


class RotateAuditKey(Verb):
    """Changes the key that authenticates entries."""

    name = ""
    help = (
        "Authenticate audit entries with a new key from the next one on. Hosts that do not "
        "share the directory of keys need the new file first. Old keys verify old entries."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Why."""
        parser.add_argument("--reason", default="", help="Why; kept on record.")

    def run(self, run: Run) -> Told:
        """Rotate. Raises django.db.DatabaseError, also if the key cannot be made."""
        entry = rotate_key(key_ring(), actor=run.actor, reason=reason_of(run.options))
        key = entry.after["key"]
        return Told(
            {"key": key, "after": entry.pk},
            [f"Entries after {entry.pk} are authenticated with key {key}."],
        )

    def is_change(self, run: Run) -> bool:
        """Always."""
        return True


class Command(DoorCommand):
    """Changes the key that authenticates entries."""

    help = RotateAuditKey.help
    verbs = (RotateAuditKey(),)
