"""`manage.py create_user NAME --role ROLE`; the password from
KVPLANE_PASSWORD or typed in."""

import getpass
import os
from argparse import ArgumentParser

from controlplane.accounts.models import UserRole
from controlplane.accounts.services import create_user
from controlplane.commandline.base import DoorCommand
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told


class CreateUser(Verb):
    """Makes a user. Never takes the password as an argument, where every
    process on the machine could read it."""

    name = ""
    help = "Make a user; the password comes from KVPLANE_PASSWORD or is asked for."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who."""
        parser.add_argument("username", help="The name to log in with.")
        parser.add_argument("--role", choices=UserRole.values, required=True, help="What it may.")
        parser.add_argument("--email", default="", help="For people; nothing is sent there.")

    def run(self, run: Run) -> Told:
        """Make the user. Raises ContractError and ValidationError."""
        password = os.environ.get("KVPLANE_PASSWORD") or getpass.getpass("Password: ")
        user = create_user(
            username=run.options["username"],
            password=password,
            role=UserRole(run.options["role"]),
            email=run.options["email"],
            actor=run.actor,
            request_id=run.request_id,
        )
        return Told(
            {"username": user.username, "role": user.role},
            [f"User '{user.username}' with role '{user.role}' made."],
        )

    def is_change(self, run: Run) -> bool:
        """Always."""
        return True


class Command(DoorCommand):
    """Makes a user."""

    help = CreateUser.help
    verbs = (CreateUser(),)
