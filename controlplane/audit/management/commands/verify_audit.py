"""`manage.py verify_audit [--archive FILE] [--json]`."""

import json
import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from controlplane.audit.archives import verify_archive
from controlplane.audit.commands import command_actor
from controlplane.audit.heads import heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.reports import Report
from controlplane.audit.verifying import verify_on_record


class Command(BaseCommand):
    """Says whether the log, or an archive of it, is what was written."""

    help = (
        "Check the chain of the audit log, the signed heads and the guards of the database. "
        "Exit status: 0 all is well, 1 something was tampered with (the first bad entry is "
        "named), 2 it could not be checked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--archive", type=Path, help="An archive (.jsonl.gz) to check instead.")
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")

    def handle(self, *args: object, **options: Any) -> None:
        """Look, and say. Raises CommandError with the exit status."""
        archive: Path | None = options["archive"]
        try:
            report = self._verify() if archive is None else _verify_archive(archive)
        except (OSError, DatabaseError) as error:
            raise CommandError(f"It could not be checked: {error}", returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        elif report.ok:
            self.stdout.write(self.style.SUCCESS(_describe(report)))
        if report.problem is not None:
            raise CommandError(report.problem.message, returncode=1)

    def _verify(self) -> Report:
        return verify_on_record(
            actor=command_actor("verify_audit"),
            request_id=uuid.uuid4().hex,
            progress=self._tell_progress,
        )

    def _tell_progress(self, entries: int) -> None:
        if entries % 100_000 == 0:
            self.stderr.write(f"{entries:,} entries so far")


def _verify_archive(path: Path) -> Report:
    return verify_archive(path, key_ring(), heads_directory())


def _describe(report: Report) -> str:
    signed = (
        f"{report.heads:,} signed heads, up to entry {report.signed_up_to:,}"
        if report.heads
        else "no signed head yet"
    )
    archived = (
        f"; up to {report.archived_up_to:,} archived, {report.kept:,} of them kept"
        if report.archived_up_to
        else ""
    )
    return (
        f"The log is what was written: {report.entries:,} entries, {report.first:,} to "
        f"{report.last:,}{archived}; {signed}."
    )
