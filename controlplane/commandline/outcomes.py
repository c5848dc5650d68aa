"""What came of a call on each agent: the document, the table, the exit status."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from controlplane.commandline.exits import Exit
from controlplane.commandline.tables import table
from controlplane.commandline.told import Told
from controlplane.operations.models import State

Target = Mapping[str, Any]
"""As OperationTargetSerializer has it; what it lacks is not known."""
_SILENT = (502, 504)
_BUSY = "Agent busy"
_NAMED_AT_MOST = 5


def told_of_targets(about: Mapping[str, object], targets: Sequence[Target]) -> Told:
    """What came of it on each agent, after what else there is to tell."""
    return Told(
        {**about, "targets": list(targets)},
        [outcome_table(targets)],
        exit_of(targets),
        why_not(targets),
    )


def exit_of(targets: Sequence[Target]) -> Exit:
    """The status of a finished call."""
    states = [target["state"] for target in targets]
    good = [target for target in targets if _is_good(target)]
    if len(good) == len(targets):
        return Exit.DONE
    if good or State.PARTIALLY_FAILED in states:
        return Exit.PARTIAL
    return Exit.UNREACHABLE if all(map(_is_silent, targets)) else Exit.FAILED


def why_not(targets: Sequence[Target]) -> str:
    """What went wrong, in a line; "" if nothing did."""
    failed = [target for target in targets if not _is_good(target)]
    if not failed:
        return ""
    named = "; ".join(f"{target['agent']}: {reason(target)}" for target in failed[:_NAMED_AT_MOST])
    more = len(failed) - _NAMED_AT_MOST
    if len(targets) == 1:
        return named
    return (
        f"{len(failed)} of {len(targets)} agents did not do it. {named}"
        f"{f'; and {more} more' if more > 0 else ''}"
    )


def reason(target: Target) -> str:
    """Why one agent did not do it."""
    if target.get("undone"):
        return "taken back"
    for said in (target.get("error"), target.get("answer")):
        if isinstance(said, Mapping):
            if errors := said.get("errors"):
                return ", ".join(f"{key}: {why}" for key, why in errors.items())
            if message := said.get("message"):
                return str(message)
    return str(target["state"])


def outcome_table(targets: Sequence[Target]) -> Table:
    """A row for each agent."""
    return table(
        ("agent", "state", "status", "answer"),
        (
            (target["agent"], target["state"], target.get("status"), _answer(target))
            for target in targets
        ),
    )


def _answer(target: Target) -> object:
    answer = target.get("answer")
    if not _is_good(target) and not isinstance(answer, Mapping):
        return reason(target)
    if isinstance(answer, Mapping):
        return {name: value for name, value in answer.items() if name != "status"} or "done"
    return answer


def _is_good(target: Target) -> bool:
    return target["state"] == State.SUCCEEDED and not target.get("undone")


def _is_silent(target: Target) -> bool:
    error = target.get("error")
    return isinstance(error, Mapping) and (
        target.get("status") in _SILENT or error.get("error") == _BUSY
    )
