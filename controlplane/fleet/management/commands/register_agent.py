"""`manage.py register_agent NAME URL --engine ENGINE --role ROLE …`."""

import sys
import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from controlplane.accounts.actors import command_actor
from controlplane.fleet.models import Dialect
from controlplane.fleet.services import AgentSpec, register_agent
from engine.contract import Role


class Command(BaseCommand):
    """Registers an agent, or changes what is known of it."""

    help = "Register an agent that does not enrol by itself, such as an LMCache process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name")
        parser.add_argument("url", help="Scheme, host and port, such as http://10.0.0.7:7000.")
        parser.add_argument("--engine", required=True)
        parser.add_argument("--role", choices=[role.value for role in Role], required=True)
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

    def handle(self, *args: object, **options: Any) -> str:
        """Register the agent. Raises CommandError."""
        spec = AgentSpec(
            name=options["name"],
            url=options["url"],
            role=Role(options["role"]),
            worker_id=options["worker_id"],
            engine=options["engine"],
            dialect=Dialect(options["dialect"]) if options["dialect"] else None,
            token=_read_token(options["token_file"]),
        )
        try:
            registration = register_agent(
                spec, actor=command_actor("register_agent"), request_id=uuid.uuid4().hex
            )
        except ValidationError as error:
            raise CommandError(
                " ".join(f"{name}: {' '.join(why)}" for name, why in error.message_dict.items())
            ) from None
        done = "registered" if registration.created else "known already, and up to date now"
        return f"Agent '{registration.agent.name}' {done}."


def _read_token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--token-file: {error}") from None
