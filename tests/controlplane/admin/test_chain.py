"""The badge of the audit chain, and the button that has it verified."""

import threading

import pytest
from django.db import DatabaseError, connection

from controlplane.accounts.models import UserRole
from controlplane.audit import background
from controlplane.audit import services as audit
from controlplane.audit.background import Verifier
from controlplane.audit.models import AuditEntry
from controlplane.audit.verifying import verify_on_record
from tests.support.waiting import eventually

from ..conftest import ACTOR

LIST = "/admin/audit/auditentry/"
VERIFY = f"{LIST}verify/"
BADGE = 'aria-label="Audit chain"'


@pytest.fixture(autouse=True)
def verifier(monkeypatch) -> Verifier:
    made = Verifier()
    monkeypatch.setattr(background, "shared_verifier", lambda: made)
    for user in ("controlplane.adminsite.chain", "controlplane.audit.admin"):
        monkeypatch.setattr(f"{user}.shared_verifier", lambda: made)
    return made


def record() -> AuditEntry:
    return audit.record(action="watch.retry", actor=ACTOR, request_id="r")


def badge(client, path: str = "/admin/") -> str:
    return client.get(path).content.decode().split(BADGE)[1].split("</section>")[0]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", LIST])
def test_badge__nobody_has_looked__says_so(page_as, path):
    record()

    assert "The log was never verified." in badge(page_as(UserRole.VIEWER), path)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", LIST])
def test_badge__last_verification__what_when_up_to_where_and_by_whom(page_as, path):
    last = record()
    verify_on_record(actor=ACTOR, request_id="v")
    found = AuditEntry.objects.get(action="audit.verify")
    record()

    shown = " ".join(badge(page_as(UserRole.VIEWER), path).split())

    assert "The chain is unbroken." in shown
    assert f"Verified up to entry {last.pk} on" in shown
    assert f'href="{LIST}{found.pk}/change/">{found.created_at:%Y-%m-%d %H:%M:%S} UTC' in shown
    assert f"by {ACTOR.name};" in shown
    since = AuditEntry.objects.order_by("-id").first().pk - last.pk
    assert f"{since} entries since" in shown


@pytest.mark.django_db(transaction=True)
def test_verify__admin__is_on_record_as_what_the_request_did(page_as):
    record()
    client = page_as(UserRole.ADMIN)
    assert "Verify now" in badge(client)

    answer = client.post(VERIFY, follow=True, headers={"x-request-id": "v-1"})

    assert "The chain is unbroken." in answer.content.decode()
    entries = AuditEntry.objects.filter(request_id="v-1")
    assert [(entry.action, entry.actor_name, entry.outcome) for entry in entries] == [
        ("audit.verify", "admin", "succeeded")
    ]


@pytest.mark.django_db(transaction=True)
def test_verify__log_that_was_tampered_with__the_badge_says_what_is_wrong(page_as):
    entry = record()
    record()
    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = 'audit_refuse_update'")
        (guard,) = cursor.fetchone()
        cursor.execute("DROP TRIGGER audit_refuse_update")
        cursor.execute(
            "UPDATE audit_auditentry SET document = replace(document, 'watch.retry', 'watch.other')"
            " WHERE id = %s",
            [entry.pk],
        )
    try:
        answer = page_as(UserRole.ADMIN).post(VERIFY, follow=True)
        shown = badge(page_as(UserRole.VIEWER))
    finally:
        with connection.cursor() as cursor:
            cursor.execute(guard)

    assert f"Entry {entry.pk} was changed" in answer.content.decode()
    assert "kvp-bad" in shown
    assert f"Entry {entry.pk} was changed" in shown


@pytest.mark.django_db
@pytest.mark.parametrize("role", [UserRole.VIEWER, UserRole.OPERATOR])
def test_verify__others_than_admins__may_not(page_as, role):
    client = page_as(role)

    assert "Verify now" not in badge(client)
    assert client.post(VERIFY).status_code == 403
    assert not AuditEntry.objects.filter(action="audit.verify").exists()


@pytest.mark.django_db
def test_verify__by_a_link__is_not_done(page_as):
    assert page_as(UserRole.ADMIN).get(VERIFY).status_code == 405
    assert not AuditEntry.objects.filter(action="audit.verify").exists()


@pytest.mark.django_db(transaction=True)
def test_verify__that_takes_long__does_not_keep_the_page_and_is_shown(
    page_as, monkeypatch, verifier
):
    go_on, done = threading.Event(), threading.Event()

    def take_long(*, progress, **given):
        progress(4000)
        go_on.wait(10)
        done.set()

    monkeypatch.setattr(background, "verify_on_record", take_long)
    monkeypatch.setattr("controlplane.audit.admin._WAIT_SECONDS", 0.05)
    client = page_as(UserRole.ADMIN)

    answer = client.post(VERIFY, follow=True)

    assert "The log is being verified" in answer.content.decode()
    shown = badge(client)
    assert "Being verified for admin" in shown
    assert "4000 entries so far" in shown
    assert "Verify now" not in shown
    assert verifier.start(actor=ACTOR, request_id="again", wait_seconds=0) is False
    go_on.set()
    assert done.wait(10)
    eventually(lambda: not verifier.progress().is_running)
    assert "Being verified" not in badge(client)


@pytest.mark.django_db(transaction=True)
def test_verify__that_breaks_down__is_told_and_can_be_tried_again(page_as, monkeypatch, caplog):
    def break_down(**given):
        raise DatabaseError("gone")

    monkeypatch.setattr(background, "verify_on_record", break_down)
    client = page_as(UserRole.ADMIN)

    client.post(VERIFY)

    assert "audit-verification broke down" in caplog.text
    shown = badge(client)
    assert "could not be finished" in shown
    assert "Verify now" in shown
