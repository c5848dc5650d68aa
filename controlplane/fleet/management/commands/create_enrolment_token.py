"""`manage.py create_enrolment_token NAME [--days N]`."""

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from controlplane.accounts.actors import command_actor
from controlplane.accounts.expiry import expires_in
from controlplane.fleet.services import create_enrolment_token


class Command(BaseCommand):
    """Makes an enrolment token and prints it: the only time that it is shown."""

    help = "Make a token with which agents register; prints it, it is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", help="What the token is for.")
        parser.add_argument("--days", type=int, help="Days until it expires. Default: never.")

    def handle(self, *args: object, **options: Any) -> str:
        """Make the token. Raises CommandError."""
        issued = create_enrolment_token(
            name=options["name"],
            expires_at=expires_in(options["days"]),
            actor=command_actor("create_enrolment_token"),
            request_id=uuid.uuid4().hex,
        )
        return issued.plaintext
