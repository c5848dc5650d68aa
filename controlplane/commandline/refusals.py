"""Why a command was not carried out, in the words of a command line."""

from django.core.exceptions import ValidationError
from django.db import Error as DatabaseError
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from controlplane.commandline.exits import Exit
from controlplane.commandline.told import Told
from controlplane.errors import exception_handler
from controlplane.fleet.errors import NoDefaultAgent
from controlplane.forwarding import AgentFailure
from controlplane.operations.errors import NotRecorded, OutcomeNotRecorded
from controlplane.operations.selecting import NobodySelected
from engine.contract import ContractError

REFUSALS = (ContractError, APIException, ValidationError, DatabaseError)
"""What services and serializers raise for what they do not do."""
_REFUSED = (401, 403, 404, 409, 412)
# What a person types, by what the API calls it.
_OPTIONS = {
    "'selector.agents'": "--agent",
    "'selector.engines'": "--engine",
    "'selector.roles'": "--role",
    "'selector.labels'": "--label",
    "'strategy.canary'": "--canary",
    "'strategy.wave_size'": "--wave-size",
    "'strategy.pause_s'": "--pause",
    "'strategy.max_failures'": "--max-failures",
    "'strategy.on_failure'": "--on-failure",
    "'selector'": "The selector",
    "'concurrency'": "--concurrency",
    "'timeout_s'": "--timeout",
    "'reason'": "--reason",
    "'expires_in_s'": "--expires-in",
    "'expires_at'": "--expires-at",
    "'worker_id'": "--worker-id",
    "expected_revision=": "--expected-revision ",
    "'expected_revision'": "--expected-revision",
    "GET /api/v1/agents/ lists": "`agents list` lists",
    "GET /api/v1/operations/ lists": "`operations list` lists",
    "GET /api/v1/engines/ lists": "`agents list` shows",
    "GET /api/v1/config-revisions/?agent=": "conf history --agent ",
    "with POST /conf": "with `conf set`",
}


class BadArgument(ContractError):
    """An argument has a value that it cannot have."""

    def __init__(self, option: str, why: str) -> None:
        super().__init__(400, "Invalid argument", f"{option}: {why}")


class SeveralAgents(ContractError):
    """No agent was named, and there is not exactly one that has what the call needs."""

    def __init__(self, error: NoDefaultAgent) -> None:
        candidates = error.extra["candidates"]
        named = ", ".join(candidates) if isinstance(candidates, list) else ""
        super().__init__(
            error.status,
            error.error,
            "Say which agents: --agent, --engine, --role, --label or --all. "
            f"{f'There are: {named}.' if named else 'None that this call is for is registered.'}",
            dict(error.extra),
        )


def refusal(error: Exception) -> Told:
    """What is told instead of an answer. The same body as the API's; Exit by its kind."""
    if isinstance(error, DatabaseError):
        message = f"The database failed: {_first_line(error)}. `manage.py doctor` looks for why."
        return Told(
            {"error": "Database failed", "message": message}, exit=Exit.NOT_RECORDED, why=message
        )
    response = exception_handler(error, {})
    body = _body_of(response)
    message = _in_options(str(body.get("message") or error))
    if isinstance(error.__cause__, DatabaseError):
        message = f"{message} ({_first_line(error.__cause__)})"
    status = 500 if response is None else response.status_code
    return Told({**body, "message": message}, exit=_exit_of(error, status), why=message)


def _body_of(response: Response | None) -> dict[str, object]:
    data = None if response is None else response.data
    return dict(data) if isinstance(data, dict) else {"error": "Failed"}


def _exit_of(error: Exception, status: int) -> Exit:
    if isinstance(error, NotRecorded | OutcomeNotRecorded):
        return Exit.NOT_RECORDED
    if isinstance(error, AgentFailure):
        return Exit.UNREACHABLE
    if isinstance(error, NobodySelected) or status in _REFUSED:
        return Exit.REFUSED
    return Exit.USAGE if 400 <= status < 500 else Exit.FAILED


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _in_options(message: str) -> str:
    for name, option in _OPTIONS.items():
        message = message.replace(name, option)
    return message
