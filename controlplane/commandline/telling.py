"""Writing what a command has to tell on standard output: for scripts, or for people."""

import json
import os
import sys
from io import StringIO
from typing import TextIO

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console

from controlplane.commandline.told import Told

_PIPED_WIDTH = 160


def tell_scripts(told: Told, stdout: TextIO) -> None:
    """One JSON document."""
    _write(json.dumps(told.document, cls=DjangoJSONEncoder, indent=2) + "\n", stdout)


def tell_people(told: Told, stdout: TextIO) -> None:
    """Tables, in colours on a terminal unless NO_COLOR is set."""
    text = StringIO()
    is_terminal = stdout.isatty()
    console = Console(
        file=text,
        force_terminal=is_terminal,
        width=None if is_terminal else _PIPED_WIDTH,
        highlight=False,
        markup=False,
    )
    for part in told.shown:
        # Text as it is: wrapped, a script would be another one.
        console.print(part, soft_wrap=isinstance(part, str))
    if shown := text.getvalue():
        encoding = stdout.encoding or "utf-8"
        _write(shown.encode(encoding, "replace").decode(encoding), stdout)


def forget_stdout() -> None:
    """Whoever read what is written has gone, as `head` does; nothing more is written, at
    the end neither."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str, stdout: TextIO) -> None:
    try:
        stdout.write(text)
        stdout.flush()
    except BrokenPipeError:
        forget_stdout()
