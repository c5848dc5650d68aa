"""`manage.py create_enrolment_token NAME [--days N]`."""

from argparse import ArgumentParser

from controlplane.accounts.expiry import expires_in
from controlplane.commandline.base import DoorCommand
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told
from controlplane.fleet.services import create_enrolment_token


class CreateEnrolmentToken(Verb):
    """Makes a token with which agents register, and prints it this once."""

    name = ""
    help = "Make a token with which agents register; prints it, it is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What for, and for how long."""
        parser.add_argument("name", help="What the token is for.")
        parser.add_argument("--days", type=int, help="Days until it expires. Default: never.")

    def run(self, run: Run) -> Told:
        """Make the token. Raises ContractError and ValidationError."""
        issued = create_enrolment_token(
            name=run.options["name"],
            expires_at=expires_in(run.options["days"]),
            actor=run.actor,
            request_id=run.request_id,
        )
        return Told({"token": issued.plaintext}, [issued.plaintext])

    def is_change(self, run: Run) -> bool:
        """Always."""
        return True


class Command(DoorCommand):
    """Makes an enrolment token."""

    help = CreateEnrolmentToken.help
    verbs = (CreateEnrolmentToken(),)
