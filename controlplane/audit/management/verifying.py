"""What `manage.py verify_audit` does."""

from argparse import ArgumentParser
from pathlib import Path

from rich.text import Text

from controlplane.audit.archives import verify_archive
from controlplane.audit.heads import heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.reports import Report
from controlplane.audit.searching import number_of_entries
from controlplane.audit.verifying import verify_on_record
from controlplane.commandline.exits import Exit
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told
from controlplane.commandline.waiting import progress_bar


class VerifyAudit(Verb):
    """Says whether the log, or an archive of it, is what was written."""

    name = ""
    help = (
        "Check the chain of the audit log, the signed heads and the guards of the database. "
        "Exit status 1: something was tampered with, and the first bad entry is named; 2: files "
        "that are needed cannot be read; 6: the database or a key cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to check instead."""
        parser.add_argument("--archive", type=Path, help="An archive (.jsonl.gz) to check instead.")

    def run(self, run: Run) -> Told:
        """Look at everything. Raises django.db.DatabaseError."""
        archive: Path | None = run.options["archive"]
        try:
            report = _verify(run) if archive is None else _verify_archive(archive)
        except OSError as error:
            why = f"It could not be checked: {error}"
            return Told({"error": "Not checked", "message": why}, exit=Exit.USAGE, why=why)
        if report.problem is not None:
            return Told(report.as_dict(), exit=Exit.FAILED, why=report.problem.message)
        return Told(report.as_dict(), [Text(_describe(report), style="green")])

    def is_change(self, run: Run) -> bool:
        """Looking at the log is on record too."""
        return True


def _verify(run: Run) -> Report:
    with progress_bar() as bar:
        task = bar.add_task("verifying", total=number_of_entries())
        return verify_on_record(
            actor=run.actor,
            request_id=run.request_id,
            progress=lambda entries: bar.update(task, completed=entries),
        )


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
