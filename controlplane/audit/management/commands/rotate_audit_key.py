"""`manage.py rotate_audit_key [--reason …]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from controlplane.audit.commands import command_actor
from controlplane.audit.keys import key_ring
from controlplane.audit.rotating import rotate_key


class Command(BaseCommand):
    """Changes the key that authenticates entries."""

    help = (
        "Authenticate audit entries with a new key from the next one on. Hosts that do not "
        "share the directory of keys need the new file first. Old keys verify old entries."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--reason", default="", help="Why; kept on record.")

    def handle(self, *args: object, **options: Any) -> str:
        """Rotate. Raises CommandError."""
        try:
            entry = rotate_key(
                key_ring(), actor=command_actor("rotate_audit_key"), reason=options["reason"]
            )
        except DatabaseError as error:
            raise CommandError(f"The key was not changed: {error}") from error
        return f"Entries after {entry.pk} are authenticated with key {entry.after['key']}."
