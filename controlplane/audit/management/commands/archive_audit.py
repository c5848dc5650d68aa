"""`manage.py archive_audit --older-than DAYS [--output DIR] [--dry-run]`."""

from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from controlplane.audit.archiving import AlreadyArchiving, archive, last_before
from controlplane.audit.commands import command_actor
from controlplane.audit.forwarding.forwarder import forwarded_up_to
from controlplane.audit.heads import heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.verification import latest_checkpoint, verify


class Command(BaseCommand):
    """Moves older entries of the log into a signed file."""

    help = (
        "Move audit entries older than so many days into a signed, compressed file. Of every "
        "object the first entry, the one that created it and the latest stay. The log is "
        "verified first; one that is not what was written is not archived."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--older-than", type=float, required=True, metavar="DAYS")
        parser.add_argument(
            "--output",
            type=Path,
            default=Path(settings.KVPLANE_AUDIT_ARCHIVE_DIR),
            help="Directory of the archives. Default: KVPLANE_AUDIT_ARCHIVE_DIR.",
        )
        parser.add_argument("--reason", default="", help="Why; kept on record.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done.")

    def handle(self, *args: object, **options: Any) -> str:
        """Archive. Raises CommandError."""
        if not 0 <= options["older_than"] <= 36_500:
            raise CommandError("--older-than must be a number of days from 0 to 36500.")
        try:
            return self._archive(options)
        except AlreadyArchiving as error:
            raise CommandError(f"Nothing was archived: {error}.") from None
        except (OSError, DatabaseError) as error:
            raise CommandError(
                f"Archiving broke off: {error}. What is not archived yet is still there; run it "
                "again.",
                returncode=2,
            ) from error

    def _archive(self, options: dict[str, Any]) -> str:
        until = last_before(timezone.now() - timedelta(days=options["older_than"]))
        forwarded = forwarded_up_to()
        if forwarded is not None:
            # A receiver that is behind would never get them.
            until = min(until, forwarded)
        begin = latest_checkpoint().number + 1
        if options["dry_run"]:
            count = max(0, until - begin + 1)
            return f"{count:,} entries would be archived: {begin:,} to {max(until, begin - 1):,}."
        report = verify(key_ring(), heads_directory())
        if report.problem is not None:
            raise CommandError(
                f"Nothing was archived, because the log is not what was written: "
                f"{report.problem.message}",
                returncode=1,
            )
        done = archive(
            options["output"],
            key_ring(),
            until,
            actor=command_actor("archive_audit"),
            reason=options["reason"],
        )
        if done is None:
            return "There is nothing to archive."
        return (
            f"{options['output'] / done.name}: {done.count:,} entries, {done.first:,} to "
            f"{done.last:,}; {done.deleted:,} deleted, {done.kept:,} kept."
        )
