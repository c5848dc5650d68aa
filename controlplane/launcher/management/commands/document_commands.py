"""`manage.py document_commands`: docs/commands.md, on standard output."""

from django.core.management.base import BaseCommand

from controlplane.commandline.documenting import document


class Command(BaseCommand):
    """Prints what there is to know about the commands."""

    help = "Print docs/commands.md as it should be. `make docs` writes it."
    requires_system_checks = []

    def handle(self, *args: object, **options: object) -> None:
        """Print it."""
        self.stdout.write(document(), ending="")
