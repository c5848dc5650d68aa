"""Commands that make users, tokens, agents and keys: scripts read them too, and what they
were refused is on record."""

import pytest
from django.db import DatabaseError

from controlplane.accounts.models import ApiToken, UserRole
from controlplane.accounts.secrets import digest_of
from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import EnrolmentToken
from tests.controlplane.commands.running import run, run_json

pytestmark = pytest.mark.django_db
_REGISTER = ("register_agent", "w", "http://h:1", "--engine", "e", "--role", "worker")


def test_create_token__json__has_the_token_once(make_user):
    make_user(UserRole.OPERATOR)

    token = run_json("create_token", "operator", "--name", "ci").document["token"]

    assert ApiToken.objects.get().digest == digest_of(token)
    assert all(token not in entry.document for entry in AuditEntry.objects.all())


def test_create_enrolment_token__json__has_the_token():
    token = run_json("create_enrolment_token", "rack").document["token"]

    assert EnrolmentToken.objects.get().digest == digest_of(token)


def test_register_agent__json__is_the_agent_without_its_token(tmp_path):
    file = tmp_path / "token"
    file.write_text("hush")

    finished = run_json(*_REGISTER, "--worker-id", "0", "--token-file", str(file))

    assert (finished.document["name"], finished.document["has_token"]) == ("w", True)
    assert "hush" not in finished.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("create_token", "nobody", "--name", "ci"), 5),
        (("create_token", "viewer", "--name", "ci", "--days", "0"), 2),
        (("create_user", "viewer", "--role", "admin"), 5),
        (_REGISTER, 2),
        ((*_REGISTER, "--worker-id", "0", "--token-file", "/no/such"), 2),
        (("create_enrolment_token", "rack", "--days", "0"), 2),
        (("archive_audit", "--older-than", "-1"), 2),
        (("rotate_audit_key", "--reason", "a\nb"), 2),
    ],
)
def test_refused__is_on_record(make_user, monkeypatch, arguments, expected):
    monkeypatch.setenv("KVPLANE_PASSWORD", "correct-horse-battery-staple")
    make_user(UserRole.VIEWER)

    assert run(*arguments).exit == expected

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target) == ("command.run", f"command:{arguments[0]}")
    assert entry.outcome == "failed"


def test_database__fails__6_without_a_traceback(monkeypatch):
    def fail(**fields):
        raise DatabaseError("disk full")

    monkeypatch.setattr("controlplane.audit.services.record", fail)

    finished = run(*_REGISTER, "--worker-id", "0")

    assert (finished.exit, "disk full" in finished.why) == (6, True)
