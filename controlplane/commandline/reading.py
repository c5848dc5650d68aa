"""Reads: a documented call that changes nothing, on one agent or many."""

from argparse import ArgumentParser
from dataclasses import replace

from django.conf import settings

from controlplane import forwarding
from controlplane.commandline.calls import add_parameters, parameters_of, query_of
from controlplane.commandline.durations import read_duration
from controlplane.commandline.outcomes import told_of_targets
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.selecting import add_selector, agents_for, selector_of
from controlplane.commandline.told import AgentRead, Told
from controlplane.forwarding import AgentAnswer, AgentFailure
from controlplane.operations.outcomes import outcome_of
from engine.contract import Endpoint, endpoint

_MAX_LIMIT = 1000
_MIN_TIMEOUT_S = 0.1
_MAX_TIMEOUT_S = 600.0


def add_timeout(parser: ArgumentParser) -> None:
    """How long each agent has."""
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        help="What each agent has for its answer, such as 10s. Default: KVPLANE_AGENT_TIMEOUT.",
    )


def add_limit(parser: ArgumentParser) -> None:
    """How much of a list is shown."""
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="At most so many. Default: 20."
    )


def limit_of(run: Run) -> int:
    """How many. Raises BadArgument."""
    limit: int = run.options["limit"]
    if not 1 <= limit <= _MAX_LIMIT:
        raise BadArgument("--limit", f"give 1 to {_MAX_LIMIT}.")
    return limit


def timeout_of(run: Run) -> float:
    """Seconds. Raises BadArgument."""
    given = run.options["timeout"]
    if given is None:
        return float(settings.KVPLANE_AGENT_TIMEOUT)
    seconds = read_duration("--timeout", given)
    if not _MIN_TIMEOUT_S <= seconds <= _MAX_TIMEOUT_S:
        raise BadArgument("--timeout", "give 0.1s to 600s.")
    return seconds


class Read(Verb):
    """Asks the selected agents for one documented endpoint."""

    def __init__(self, name: str, operation_id: str) -> None:
        self.name = name
        self.endpoint = endpoint(operation_id)
        self.help = self.endpoint.description
        self.operation_ids = (operation_id,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The parameters of the call, and selectors."""
        add_parameters(parser, self.endpoint)
        add_selector(parser)
        add_timeout(parser)

    def run(self, run: Run) -> Told:
        """Ask all of them at once."""
        return ask(run, self.endpoint)

    def reads(self, run: Run) -> str:
        """The group of the endpoint."""
        return str(self.endpoint.group)


def ask(run: Run, asked: Endpoint) -> Told:
    """The answers of the selected agents to a call that only reads."""
    query = query_of(asked, parameters_of(asked, run.options))
    timeout = timeout_of(run)
    agents = agents_for(selector_of(run.options), asked)
    results = forwarding.send_all(
        agents, asked, query=query, body=None, request_id=run.request_id, timeout=timeout
    )
    targets = [
        {
            "agent": agent.name,
            "state": outcome_of(agent, result).state.value,
            "status": result.status,
            **_said(result),
        }
        for agent, result in zip(agents, results, strict=True)
    ]
    told = told_of_targets({"endpoint": asked.operation_id}, targets)
    reads = [AgentRead(agent, result) for agent, result in zip(agents, results, strict=True)]
    return replace(told, reads=reads)


def _said(result: AgentAnswer | AgentFailure) -> dict[str, object]:
    if isinstance(result, AgentFailure):
        return {"answer": None, "error": result.body(), "duration_ms": None}
    return {"answer": result.document, "error": None, "duration_ms": result.duration_ms}
