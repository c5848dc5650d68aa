"""`manage.py archive_audit --older-than DAYS [--output DIR] [--dry-run]`."""

from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from controlplane.audit.archiving import AlreadyArchiving, archive, last_before
from controlplane.audit.forwarding.forwarder import forwarded_up_to
from controlplane.audit.heads import heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.verification import latest_checkpoint, verify
from controlplane.commandline.base import DoorCommand
from controlplane.commandline.exits import Exit
from controlplane.commandline.planning import reason_of
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told

_MAX_DAYS = 36_500


class ArchiveAudit(Verb):
    """Moves older entries of the log into a signed file."""

    name = ""
    help = (
        "Move audit entries older than so many days into a signed, compressed file. Of every "
        "object the first entry, the one that created it and the latest stay. The log is "
        "verified first; one that is not what was written is not archived (exit status 1)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which, and where to."""
        parser.add_argument(
            "--older-than", type=float, required=True, metavar="DAYS", help="How old they are."
        )
        parser.add_argument(
            "--output",
            type=Path,
            default=Path(settings.KVPLANE_AUDIT_ARCHIVE_DIR),
            help="Directory of the archives. Default: KVPLANE_AUDIT_ARCHIVE_DIR.",
        )
        parser.add_argument("--reason", default="", help="Why; kept on record.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done.")

    def run(self, run: Run) -> Told:
        """Archive. Raises BadArgument and django.db.DatabaseError."""
        reason = reason_of(run.options)
        if not 0 <= run.options["older_than"] <= _MAX_DAYS:
            raise BadArgument("--older-than", f"give a number of days from 0 to {_MAX_DAYS}.")
        try:
            return _archive(run, reason)
        except AlreadyArchiving as error:
            return _not_archived(f"Nothing was archived: {error}.", Exit.REFUSED)
        except OSError as error:
            return _not_archived(
                f"Archiving broke off: {error}. What is not archived yet is still there; run it "
                "again.",
                Exit.USAGE,
            )

    def is_change(self, run: Run) -> bool:
        """Unless it is a dry run."""
        return not run.is_dry


class Command(DoorCommand):
    """Moves older entries of the log into a signed file."""

    help = ArchiveAudit.help
    verbs = (ArchiveAudit(),)


def _archive(run: Run, reason: str) -> Told:
    until = last_before(timezone.now() - timedelta(days=run.options["older_than"]))
    forwarded = forwarded_up_to()
    if forwarded is not None:
        # A receiver that is behind would never get them.
        until = min(until, forwarded)
    begin = latest_checkpoint().number + 1
    if run.is_dry:
        count = max(0, until - begin + 1)
        said = f"{count:,} entries would be archived: {begin:,} to {max(until, begin - 1):,}."
        return Told({"dry_run": True, "entries": count, "first": begin, "last": until}, [said])
    report = verify(key_ring(), heads_directory())
    if report.problem is not None:
        return _not_archived(
            "Nothing was archived, because the log is not what was written: "
            f"{report.problem.message}",
            Exit.FAILED,
        )
    done = archive(run.options["output"], key_ring(), until, actor=run.actor, reason=reason)
    if done is None:
        return Told({"entries": 0}, ["There is nothing to archive."])
    file = run.options["output"] / done.name
    said = (
        f"{file}: {done.count:,} entries, {done.first:,} to {done.last:,}; {done.deleted:,} "
        f"deleted, {done.kept:,} kept."
    )
    document = {"file": str(file), "entries": done.count, "first": done.first, "last": done.last}
    return Told({**document, "deleted": done.deleted, "kept": done.kept}, [said])


def _not_archived(why: str, exit_: Exit) -> Told:
    return Told({"error": "Not archived", "message": why}, exit=exit_, why=why)
