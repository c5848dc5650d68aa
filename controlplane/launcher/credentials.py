"""The secrets of a first start: made once, kept in files that only their owner
can read, and found again by the next start."""

import os
import secrets
import uuid
from pathlib import Path

from django.conf import settings

from controlplane.accounts.actors import command_actor
from controlplane.accounts.models import User, UserRole
from controlplane.accounts.secrets import digest_of
from controlplane.accounts.services import create_token, create_user, find_usable_token
from controlplane.fleet.models import EnrolmentToken
from controlplane.fleet.services import create_enrolment_token
from controlplane.launcher.banner import Credentials

ADMIN = "admin"
_ACTOR = command_actor("up")


def admin_credentials() -> Credentials:
    """The admin user and an API token of that user, made if there is none.

    The token file is written anew when its token is not usable any more; a
    password that was changed elsewhere is left alone.
    """
    credentials = Credentials(
        username=ADMIN,
        password_file=_file("admin-password"),
        token_file=_file("admin-token"),
    )
    user = User.objects.filter(username=ADMIN).first()
    if user is None:
        user = create_user(
            username=ADMIN,
            password=_kept_secret(credentials.password_file),
            role=UserRole.ADMIN,
            actor=_ACTOR,
            request_id=uuid.uuid4().hex,
        )
    _keep_token_file(credentials.token_file, user)
    return credentials


def _keep_token_file(path: Path, user: User) -> None:
    if path.is_file() and find_usable_token(path.read_text("utf-8").strip()) is not None:
        return
    issued = create_token(
        user=user,
        name="made by 'up'",
        role=user.access_role,
        expires_at=None,
        granted_by=user.access_role,
        actor=_ACTOR,
        request_id=uuid.uuid4().hex,
    )
    _write_secret(path, issued.plaintext)


def agent_environment(controlplane_url: str) -> dict[str, str]:
    """With what an agent of this machine protects itself and registers: the
    same on every start, so that it may register again under its name."""
    return {
        "KVPLANE_AGENT_TOKEN": _kept_secret(_file("agent-token")),
        "KVPLANE_CONTROLPLANE_URL": controlplane_url,
        "KVPLANE_ENROLMENT_TOKEN": _enrolment_token(),
    }


def _enrolment_token() -> str:
    path = _file("enrolment-token")
    if path.is_file():
        plaintext = path.read_text("utf-8").strip()
        if _is_known(plaintext):
            return plaintext
    issued = create_enrolment_token(
        name="made by 'up'", expires_at=None, actor=_ACTOR, request_id=uuid.uuid4().hex
    )
    _write_secret(path, issued.plaintext)
    return issued.plaintext


def _is_known(plaintext: str) -> bool:
    token = EnrolmentToken.objects.filter(digest=digest_of(plaintext)).first()
    return token is not None and token.is_usable


def _file(name: str) -> Path:
    return Path(settings.DATA_DIR) / name


def _kept_secret(path: Path) -> str:
    """The secret in that file, made of 120 random bits if there is none."""
    if not path.is_file():
        _write_secret(path, secrets.token_urlsafe(15))
    return path.read_text("utf-8").strip()


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
