"""`manage.py register_agent NAME URL --engine ENGINE --role ROLE …`."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told
from controlplane.fleet.models import Dialect
from controlplane.fleet.serializers import AgentSerializer
from controlplane.fleet.services import AgentSpec, register_agent
from engine.contract import Role


class RegisterAgent(Verb):
    """Registers an agent, or changes what is known of it."""

    name = ""
    help = "Register an agent that does not enrol by itself, such as an LMCache process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What is known of it."""
        parser.add_argument("name", help="Its name.")
        parser.add_argument("url", help="Scheme, host and port, such as http://10.0.0.7:7000.")
        parser.add_argument("--engine", required=True, help="The engine that it belongs to.")
        parser.add_argument(
            "--role", choices=[role.value for role in Role], required=True, help="What it does."
        )
        parser.add_argument("--worker-id", type=int, help="0 for the first worker.")
        parser.add_argument(
            "--dialect",
            choices=Dialect.values,
            help=f"Default: as it is; {Dialect.KVPLANE} for a new agent.",
        )
        parser.add_argument(
            "--token-file",
            help="A file with the agent's bearer token, - for standard input. Default: the "
            "token stays as it is.",
        )

    def run(self, run: Run) -> Told:
        """Register the agent. Raises BadArgument and ValidationError."""
        options = run.options
        spec = AgentSpec(
            name=options["name"],
            url=options["url"],
            role=Role(options["role"]),
            worker_id=options["worker_id"],
            engine=options["engine"],
            dialect=Dialect(options["dialect"]) if options["dialect"] else None,
            token=_read_token(options["token_file"]),
        )
        registration = register_agent(spec, actor=run.actor, request_id=run.request_id)
        done = "registered" if registration.created else "known already, and up to date now"
        return Told(
            AgentSerializer(registration.agent).data,
            [f"Agent '{registration.agent.name}' {done}."],
        )

    def is_change(self, run: Run) -> bool:
        """Always."""
        return True


class Command(DoorCommand):
    """Registers an agent."""

    help = RegisterAgent.help
    verbs = (RegisterAgent(),)


def _read_token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadArgument("--token-file", str(error)) from None
