"""Which agents a command is for."""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controlplane.commandline.refusals import BadArgument, SeveralAgents
from controlplane.fleet.errors import NoDefaultAgent
from controlplane.fleet.models import Agent
from controlplane.fleet.services import default_agent
from controlplane.operations.selecting import Selector, select
from engine.contract import Endpoint, Role


def add_selector(parser: ArgumentParser) -> None:
    """The selectors: agents that fit all of them."""
    group = parser.add_argument_group(
        "selectors",
        "Agents that fit everything that is given. Without any: the only agent that has what the "
        "call needs.",
    )
    group.add_argument(
        "--agent", action="append", default=[], metavar="NAME", help="An agent; repeatable."
    )
    group.add_argument(
        "--engine", action="append", default=[], metavar="NAME", help="An engine; repeatable."
    )
    group.add_argument(
        "--role",
        action="append",
        default=[],
        choices=[role.value for role in Role],
        help="A role; repeatable.",
    )
    group.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A label of the agent or its engine; repeatable.",
    )
    group.add_argument(
        "--all", action="store_true", help="Every agent that the call is for and has not left."
    )


def add_one_agent(parser: ArgumentParser) -> None:
    """For what is asked of one agent, which need not be registered any more."""
    parser.add_argument("--agent", metavar="NAME", help="The agent. Default: the only one.")


def name_of_one(options: Mapping[str, Any], endpoint: Endpoint) -> str:
    """The name that was given, or that of the only agent with what the endpoint needs.
    Raises SeveralAgents."""
    if options["agent"]:
        return str(options["agent"])
    return agents_for(Selector(), endpoint)[0].name


def selector_of(options: Mapping[str, Any]) -> Selector:
    """What the options select; nothing given: an empty selector. Raises BadArgument."""
    return Selector(
        agents=tuple(options["agent"]),
        engines=tuple(options["engine"]),
        roles=tuple(Role(role) for role in options["role"]),
        labels=dict(_label(text) for text in options["label"]),
        everybody=options["all"],
    )


def is_one(selector: Selector) -> bool:
    """Whether the selector can only mean one agent: it names it, or nothing at all."""
    return not replace(selector, agents=()).describe() and len(selector.agents) <= 1


def agents_for(selector: Selector, endpoint: Endpoint) -> list[Agent]:
    """The agents that an endpoint is to be called on. Raises NobodySelected, and
    SeveralAgents if nothing is selected and it is not exactly one."""
    if selector.describe():
        return select(selector, endpoint)
    try:
        return [default_agent(endpoint.component)]
    except NoDefaultAgent as error:
        raise SeveralAgents(error) from None


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise BadArgument("--label", f"'{text}' is not NAME=VALUE, such as zone=a.")
    return name, value
