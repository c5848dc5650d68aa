"""Running a command inside the test's process, as a script sees it."""

import json
from dataclasses import dataclass
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said."""

    exit: int
    out: str
    why: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def run(*arguments: str) -> Finished:
    """Run it."""
    out = StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=StringIO())
    except CommandError as error:
        return Finished(error.returncode, out.getvalue(), str(error))
    return Finished(0, out.getvalue(), "")


def run_json(*arguments: str) -> Finished:
    """Run it with --json."""
    return run(*arguments, "--json")
