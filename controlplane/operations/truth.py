"""Asking an agent whether it did what an operation wanted of it."""

from collections.abc import Mapping

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.reading import read_configuration
from controlplane.configuration.values import same, show
from controlplane.fleet.models import Agent
from controlplane.fleet.vault import UnreadableSecret
from controlplane.forwarding.probe import probe
from controlplane.modes.models import Mode, ModeChange
from controlplane.operations.effects import Begun, BegunModeChange, BegunRevision
from controlplane.operations.models import State

_CANNOT_TELL = {
    "error": "Unknown outcome",
    "message": "No answer came, and the agent's state does not tell whether it was done.",
}
_NOT_DONE = {
    "error": "Not done",
    "message": "No answer came, and the agent's state shows that it was not done.",
}


def find_out(
    begun: Begun, agent: Agent, *, request_id: str, timeout: float
) -> tuple[State, object]:
    """The outcome and, in place of the agent's answer, what its state tells. Raises
    AgentFailure if it does not answer now either."""
    if isinstance(begun, BegunRevision):
        observed = read_configuration(agent, request_id=request_id, timeout=timeout)
        try:
            return _outcome_of_revision(begun.revision, observed.values)
        except UnreadableSecret:
            return State.UNKNOWN, _CANNOT_TELL
    if isinstance(begun, BegunModeChange):
        status = probe(agent, request_id=request_id, timeout=timeout)
        return _outcome_of_mode(begun.change, status)
    return State.UNKNOWN, _CANNOT_TELL


def _outcome_of_revision(
    revision: ConfigRevision, observed: Mapping[str, object]
) -> tuple[State, object]:
    requested = configuration.requested_values(revision)
    wanted = show(requested, ())
    updated = {
        key: observed[key]
        for key, value in wanted.items()
        if key in observed and _agrees(value, observed[key])
    }
    told = [key for key in updated if key in revision.diff and wanted[key] == requested[key]]
    if not told and any(wanted[key] != requested[key] for key in wanted):
        # Secrets read the same whether they were changed or not.
        return State.UNKNOWN, _CANNOT_TELL
    if len(updated) == len(wanted):
        return State.SUCCEEDED, {"updated": updated}
    missing = {key: "The agent does not have this value." for key in wanted if key not in updated}
    changed = [key for key in updated if key in revision.diff]
    # What has the wanted value already may never have been touched.
    if not changed:
        return State.FAILED, {**_NOT_DONE, "errors": missing}
    return State.PARTIALLY_FAILED, {"updated": updated, "errors": missing}


def _agrees(wanted: object, observed: object) -> bool:
    """Whether an agent that was told `wanted` may read `observed`: it takes numbers
    and booleans that are written as text."""
    if same(wanted, observed):
        return True
    return isinstance(wanted, str) and wanted.strip().lower() == str(observed).lower()


def _outcome_of_mode(change: ModeChange, status: Mapping[str, object]) -> tuple[State, object]:
    if change.mode == Mode.BYPASS:
        bypassed = status.get("bypassed_backends")
        if not isinstance(bypassed, list):
            return State.UNKNOWN, _CANNOT_TELL
        observed = change.backend in bypassed
    else:
        found = status.get(change.mode)
        if not isinstance(found, bool):
            return State.UNKNOWN, _CANNOT_TELL
        observed = found
    if observed == change.to_value:
        return State.SUCCEEDED, {"status": "success", "observed": observed}
    return State.FAILED, _NOT_DONE
