"""Management commands."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.secrets import digest_of
from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Agent, EnrolmentToken

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue().strip()


def test_create_token__prints_a_token_that_works(make_user):
    make_user(UserRole.OPERATOR)
    plaintext = run("create_token", "operator", "--name", "ci", "--days", "7")

    token = ApiToken.objects.get(digest=digest_of(plaintext))
    assert (token.role, token.expires_at is None) == (UserRole.OPERATOR, False)
    assert AuditEntry.objects.get().actor_kind == "command"


@pytest.mark.parametrize(
    "arguments",
    [
        ("create_token", "nobody", "--name", "x"),
        ("create_token", "viewer", "--name", "x", "--role", "admin"),
        ("create_token", "viewer", "--name", "x", "--days", "0"),
        ("register_agent", "a", "ftp://h", "--engine", "e", "--role", "worker"),
        ("register_agent", "a", "http://h", "--engine", "e", "--role", "worker"),
        ("create_user", "viewer", "--role", "admin"),
        ("create_user", "a\nb", "--role", "admin"),
        ("create_user", "a/b", "--role", "admin"),
        ("create_user", "a" * 151, "--role", "admin"),
        ("create_user", "ada", "--role", "admin", "--email", "x"),
        ("create_token", "viewer", "--name", "a\nb"),
        ("create_token", "viewer", "--name", "a" * 129),
        ("create_token", "viewer", "--name", ""),
    ],
)
def test_command__bad_arguments__fail_with_a_reason_and_change_nothing(
    make_user, monkeypatch, arguments
):
    monkeypatch.setenv("KVPLANE_PASSWORD", "correct-horse-battery-staple")
    make_user(UserRole.VIEWER)
    with pytest.raises(CommandError) as caught:
        run(*arguments)

    assert str(caught.value)
    assert not ApiToken.objects.exists()
    assert not Agent.objects.exists()
    assert User.objects.count() == 1


def test_create_user__takes_the_password_from_the_environment(monkeypatch):
    monkeypatch.setenv("KVPLANE_PASSWORD", "correct-horse-battery-staple")
    run("create_user", "ada", "--role", "admin")

    assert User.objects.get().check_password("correct-horse-battery-staple")
    assert User.objects.get().access_role is UserRole.ADMIN


def test_create_enrolment_token__prints_it():
    plaintext = run("create_enrolment_token", "rack 1")

    assert EnrolmentToken.objects.get().digest == digest_of(plaintext)


def test_register_agent__token_from_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("hush\n")
    run(
        "register_agent", "w0", "http://10.0.0.7:7000", "--engine", "e", "--role", "worker",
        "--worker-id", "0", "--dialect", "lmcache", "--token-file", str(file),
    )  # fmt: skip

    assert Agent.objects.get().bearer_token() == "hush"
