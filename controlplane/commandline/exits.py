"""How a command ends, as the number that a script sees."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit status of every command; each of them uses the ones that can happen."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    UNREACHABLE = 4
    REFUSED = 5
    NOT_RECORDED = 6
    STILL_RUNNING = 7

    @property
    def meaning(self) -> str:
        """One line for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.DONE: "Done, on every agent that was asked.",
    Exit.FAILED: "Done on no agent: they answered that they will not, or cannot, or it was taken "
    "back. Of a check: something is wrong.",
    Exit.USAGE: "The call itself is wrong, such as a missing argument or a bad value. Nothing was "
    "changed.",
    Exit.PARTIAL: "Done on some agents and failed on others. Of a check: there are warnings.",
    Exit.UNREACHABLE: "No agent that was called gave an answer. The state of one that timed out is "
    "unknown.",
    Exit.REFUSED: "The control plane refused: nobody fits the selector, there is no such thing, or "
    "the call conflicts with what is there. Nothing was changed.",
    Exit.NOT_RECORDED: "The database failed, so that something could not be read or put on record. "
    "The message says whether agents were called.",
    Exit.STILL_RUNNING: "The operation had not finished when --wait, or the patience of whoever "
    "pressed Ctrl-C, ended. The controllers go on with it.",
}
