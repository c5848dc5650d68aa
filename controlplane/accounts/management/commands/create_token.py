"""`manage.py create_token USER --name NAME [--role ROLE] [--days N]`."""

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from controlplane.accounts.actors import command_actor
from controlplane.accounts.expiry import expires_in
from controlplane.accounts.models import User, UserRole
from controlplane.accounts.services import create_token
from engine.contract import ContractError


class Command(BaseCommand):
    """Makes an API token and prints it: the only time that it is shown."""

    help = "Make an API token for a user; prints the token, which is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument("--name", required=True, help="What the token is for.")
        parser.add_argument(
            "--role", choices=UserRole.values, help="Default: the role of the user."
        )
        parser.add_argument("--days", type=int, help="Days until it expires. Default: never.")

    def handle(self, *args: object, **options: Any) -> str:
        """Make the token. Raises CommandError."""
        username = options["username"]
        try:
            user = User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(f"There is no user '{username}'; see create_user.") from None
        try:
            issued = create_token(
                user=user,
                name=options["name"],
                role=UserRole(options["role"] or user.access_role),
                expires_at=expires_in(options["days"]),
                granted_by=UserRole.ADMIN,
                actor=command_actor("create_token"),
                request_id=uuid.uuid4().hex,
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except ContractError as error:
            raise CommandError(error.message) from None
        return issued.plaintext
