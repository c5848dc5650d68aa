"""What a command has to tell when it is through."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType

from controlplane.commandline.exits import Exit


@dataclass(frozen=True)
class Told:
    """`document` is JSON-ready and for scripts, `shown` the same for people. Unless all
    is well, `why` says in a line what is not."""

    document: object
    shown: Sequence[RenderableType] = ()
    exit: Exit = Exit.DONE
    why: str = ""
