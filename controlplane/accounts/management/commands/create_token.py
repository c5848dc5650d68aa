"""`manage.py create_token USER --name NAME [--role ROLE] [--days N]`."""

from argparse import ArgumentParser

from controlplane.accounts.expiry import expires_in
from controlplane.accounts.models import User, UserRole
from controlplane.accounts.services import create_token
from controlplane.commandline.base import DoorCommand
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import Told
from engine.contract import ContractError


class CreateToken(Verb):
    """Makes an API token and prints it: the only time that it is shown."""

    name = ""
    help = "Make an API token for a user; prints the token, which is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, and for how long."""
        parser.add_argument("username", help="The user that it acts for.")
        parser.add_argument("--name", required=True, help="What the token is for.")
        parser.add_argument(
            "--role", choices=UserRole.values, help="Default: the role of the user."
        )
        parser.add_argument("--days", type=int, help="Days until it expires. Default: never.")

    def run(self, run: Run) -> Told:
        """Make the token. Raises ContractError and ValidationError."""
        username = run.options["username"]
        user = User.objects.filter(username=username).first()
        if user is None:
            raise ContractError(
                404, "User not found", f"There is no user '{username}'; see create_user."
            )
        issued = create_token(
            user=user,
            name=run.options["name"],
            role=UserRole(run.options["role"] or user.access_role),
            expires_at=expires_in(run.options["days"]),
            granted_by=UserRole.ADMIN,
            actor=run.actor,
            request_id=run.request_id,
        )
        return Told({"token": issued.plaintext}, [issued.plaintext])

    def is_change(self, run: Run) -> bool:
        """Always."""
        return True


class Command(DoorCommand):
    """Makes an API token."""

    help = CreateToken.help
    verbs = (CreateToken(),)
