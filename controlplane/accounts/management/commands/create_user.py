"""`manage.py create_user NAME --role ROLE`; the password from
KVPLANE_PASSWORD or typed in."""

import getpass
import os
import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from controlplane.accounts.actors import command_actor
from controlplane.accounts.models import UserRole
from controlplane.accounts.services import create_user
from engine.contract import ContractError


class Command(BaseCommand):
    """Makes a user. Never takes the password as an argument, where every
    process on the machine could read it."""

    help = "Make a user; the password comes from KVPLANE_PASSWORD or is asked for."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument("--role", choices=UserRole.values, required=True)
        parser.add_argument("--email", default="")

    def handle(self, *args: object, **options: Any) -> str:
        """Make the user. Raises CommandError."""
        password = os.environ.get("KVPLANE_PASSWORD") or getpass.getpass("Password: ")
        try:
            user = create_user(
                username=options["username"],
                password=password,
                role=UserRole(options["role"]),
                email=options["email"],
                actor=command_actor("create_user"),
                request_id=uuid.uuid4().hex,
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except ContractError as error:
            raise CommandError(error.message) from None
        return f"User '{user.username}' with role '{user.role}' made."
