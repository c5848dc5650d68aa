"""What `manage.py export_audit` does."""

import os
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError

from controlplane.audit import services as audit
from controlplane.audit.actors import ActorKind
from controlplane.audit.export import csv_lines, json_lines
from controlplane.audit.filters import AuditFilter
from controlplane.audit.models import AuditEntry, Stage
from controlplane.commandline.exits import Exit
from controlplane.commandline.planning import reason_of
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.telling import forget_stdout
from controlplane.commandline.told import Told
from controlplane.commandline.waiting import progress_bar

_FORMATS = {"csv": csv_lines, "jsonl": json_lines}
_FILTERS = {
    "action": "Such as freeze.enable.",
    "actor": "Who asked for it.",
    "actor_kind": "What kind of caller that was.",
    "target": "What it was done to, such as agent:prod-worker-0.",
    "agent": "The agent concerned.",
    "engine": "The engine concerned.",
    "operation": "The operation that it belongs to.",
    "request_id": "The request that it belongs to.",
    "stage": "Which moment of a change it records.",
    "outcome": "What came of it, such as succeeded.",
    "status": "The HTTP status, such as 409.",
    "since": "At that moment or later, such as 2030-01-31T12:00Z.",
    "until": "Before that moment.",
    "text": "With that text in its difference; at least 3 characters.",
}
_READER_GONE = "Whoever read the entries did not read all of them."
_CHOICES = {"actor_kind": ActorKind.values, "stage": Stage.values}


class ExportAudit(Verb):
    """Writes entries to a file, or to standard output."""

    name = ""
    help = (
        "Write audit entries, oldest first, as JSON Lines or CSV. That it was done is on record, "
        "before the first entry is told."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How, where to, and filters as the API has them."""
        parser.add_argument(
            "--format",
            choices=sorted(_FORMATS),
            default="jsonl",
            help="JSON Lines as in archives, or CSV. Default: jsonl.",
        )
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="A new file, which only its owner can read. Default: standard output.",
        )
        parser.add_argument("--reason", default="", help="Why; kept on record.")
        for name, description in _FILTERS.items():
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, choices=_CHOICES.get(name), help=description)

    def run(self, run: Run) -> Told:
        """Export. Raises BadArgument, ValidationError and django.db.DatabaseError."""
        output: Path | None = run.options["output"]
        if run.options["json"] and output is None:
            raise BadArgument("--json", "it goes with --output: standard output has the entries.")
        entries = _choose(run)
        try:
            with _opened(output, run.stdout) as file:
                _record(run, Stage.REQUESTED, {})
                told = _write(entries, run, file)
        except BrokenPipeError:
            forget_stdout()
            return Told({}, exit=Exit.FAILED, why=_READER_GONE)
        except OSError as error:
            raise BadArgument("--output", str(error)) from None
        _record(run, Stage.COMPLETED, {"entries": told})
        document = {"entries": told, "file": str(output)}
        return Told(document, [] if output is None else [f"{output}: {told:,} entries."])

    def is_change(self, run: Run) -> bool:
        """Looking at the log is on record too."""
        return True


def _choose(run: Run) -> QuerySet[AuditEntry]:
    given = {name: run.options[name] for name in _FILTERS if run.options[name]}
    chosen = AuditFilter(given, AuditEntry.objects.all())
    if not chosen.is_valid():
        raise ValidationError(chosen.errors)
    found: QuerySet[AuditEntry] = chosen.qs
    return found


def _write(entries: QuerySet[AuditEntry], run: Run, file: TextIO) -> int:
    """The number of entries that were written."""
    written = 0
    with progress_bar() as bar:
        task = bar.add_task("exporting", total=entries.count())
        for line in _FORMATS[run.options["format"]](entries):
            file.write(line)
            written += 1
            bar.update(task, completed=written)
    # CSV begins with a line of names.
    return written - 1 if run.options["format"] == "csv" else written


@contextmanager
def _opened(path: Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """The file, which must be new, or standard output. What is written in part is removed."""
    if path is None:
        yield stdout
        return
    with ExitStack() as in_part:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            in_part.callback(path.unlink)
            yield file
        in_part.pop_all()


def _record(run: Run, stage: Stage, answer: dict[str, object]) -> None:
    with transaction.atomic():
        audit.record(
            stage=stage,
            action="command.run",
            target=f"command:{run.name}",
            actor=run.actor,
            request_id=run.request_id,
            reason=reason_of(run.options),
            request={"command": run.name, "arguments": ExportAudit().on_record(run.options)},
            answer=answer or None,
            outcome="" if stage is Stage.REQUESTED else "succeeded",
        )
