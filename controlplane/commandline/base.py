"""The base of the commands: runs a verb, keeps it on record, tells what came of it."""

import logging
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TextIO, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from controlplane.accounts.actors import command_actor
from controlplane.audit import trail
from controlplane.commandline.exits import Exit
from controlplane.commandline.recording import record_read, record_run
from controlplane.commandline.refusals import REFUSALS, refusal
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.tables import printable
from controlplane.commandline.telling import tell_people, tell_scripts
from controlplane.commandline.told import Told

_LOUD = 2
_BROKEN_OFF = (
    "Broken off. What was under way is on record as unknown, and the control loop finds out "
    "what came of it; `operations list` shows it."
)


class DoorCommand(BaseCommand):
    """A command with verbs, such as `freeze enable`; or with one that has no name."""

    verbs: ClassVar[Sequence[Verb]] = ()
    # They take longer than most calls, and look at what a command does not use.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs and their arguments."""
        if self._only is not None:
            _add_arguments(parser, self._only)
            return
        made = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        for verb in self.verbs:
            _add_arguments(
                made.add_parser(
                    verb.name, help=verb.help, description=verb.help, allow_abbrev=False
                ),
                verb,
            )

    def handle(self, *args: object, **options: Any) -> None:
        """Do it, and say so. Raises CommandError with the exit status."""
        verb = self._only or self._verb_named(options["verb"])
        command = type(self).__module__.rpartition(".")[2]
        run = Run(
            name=f"{command} {verb.name}".strip(),
            options=options,
            actor=command_actor(command),
            request_id=uuid.uuid4().hex,
            stdout=cast(TextIO, self.stdout),
        )
        _check_text(options)
        with _quiet_log(options):
            told = _carry_out(verb, run)
        tell = tell_scripts if options["json"] else tell_people
        tell(told, run.stdout)
        if told.exit is not Exit.DONE:
            raise CommandError(printable(told.why), returncode=int(told.exit))

    @property
    def _only(self) -> Verb | None:
        only, *others = self.verbs
        return None if others or only.name else only

    def _verb_named(self, name: str) -> Verb:
        return next(verb for verb in self.verbs if verb.name == name)


def _check_text(options: Mapping[str, Any]) -> None:
    """Raises CommandError for arguments that no text can be made of."""
    for name, value in options.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not _is_text(text):
                raise CommandError(
                    f"'{name}' is not valid UTF-8; write it as UTF-8.", returncode=int(Exit.USAGE)
                )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add_arguments(parser: ArgumentParser, verb: Verb) -> None:
    verb.add_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="Print one JSON document and nothing else."
    )


def _carry_out(verb: Verb, run: Run) -> Told:
    with trail.following() as followed:
        try:
            told = verb.run(run)
        except REFUSALS as error:
            told = refusal(error)
        except KeyboardInterrupt:
            told = Told(
                {"error": "Broken off", "message": _BROKEN_OFF},
                exit=Exit.STILL_RUNNING,
                why=_BROKEN_OFF,
            )
        if verb.is_change(run):
            record_run(verb, run, followed, told)
            return told
    try:
        record_read(verb, run, told)
    except DatabaseError as error:
        return refusal(error)
    return told


@contextmanager
def _quiet_log(options: Mapping[str, Any]) -> Iterator[None]:
    """What goes wrong is said in the command's own words; the log, with its tracebacks,
    is for who asks for it with -v 2."""
    if options.get("verbosity", 1) >= _LOUD:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
