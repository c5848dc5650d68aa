"""Who guesses passwords has to wait."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.core.management import call_command
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry

from ..conftest import PASSWORD

pytestmark = pytest.mark.django_db
PAGES = ["/admin/login/", "/api/auth/login/"]
HTML = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def _three_attempts(settings) -> None:
    settings.AXES_FAILURE_LIMIT = 3


def log_in(name: str, password: str, page: str = PAGES[0], **origin: str):
    sent = {"username": name, "password": password}
    return Client(headers=HTML).post(page, sent, **{"REMOTE_ADDR": "10.9.8.7", **origin})


def fail(name: str, times: int, page: str = PAGES[0], **origin: str) -> None:
    for _ in range(times):
        log_in(name, "wrong", page, **origin)


@pytest.mark.parametrize("page", PAGES)
def test_login__too_many_failed__waits_even_with_the_right_password(make_user, page) -> None:
    make_user(UserRole.ADMIN)
    fail("admin", 3, page)
    answer = log_in("admin", PASSWORD, page)
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert b"wait for up to 15 minutes" in answer.content
    assert "sessionid" not in answer.cookies
    assert "kvplane_session" not in answer.cookies
    denied = AuditEntry.objects.filter(action="user.login", outcome="denied")
    assert {entry.request["username"] for entry in denied} == {"admin"}


def test_login__script__is_told_in_json(make_user) -> None:
    make_user(UserRole.ADMIN)
    fail("admin", 3)
    sent = {"username": "admin", "password": PASSWORD}
    answer = Client().post(PAGES[0], sent, REMOTE_ADDR="10.9.8.7")
    assert answer.json()["error"] == "Too many requests"


def test_login__others_and_elsewhere__are_let_in(make_user) -> None:
    make_user(UserRole.ADMIN)
    make_user(UserRole.VIEWER)
    fail("admin", 3)
    assert log_in("viewer", PASSWORD, PAGES[1]).status_code == 302
    assert log_in("admin", PASSWORD, REMOTE_ADDR="10.9.8.8").status_code == 302


def test_login__behind_a_proxy__counts_who_is_before_it(make_user, settings) -> None:
    from ipaddress import ip_network

    settings.KVPLANE_TRUSTED_PROXIES = [ip_network("10.9.8.7/32")]
    make_user(UserRole.ADMIN)
    fail("admin", 3, HTTP_X_FORWARDED_FOR="192.0.2.1")
    blocked = log_in("admin", PASSWORD, HTTP_X_FORWARDED_FOR="192.0.2.1")
    assert blocked.status_code == 429
    assert log_in("admin", PASSWORD, HTTP_X_FORWARDED_FOR="192.0.2.2").status_code == 302


def test_login__address_is_not_known__is_counted_too(make_user) -> None:
    make_user(UserRole.ADMIN)
    fail("admin", 3, REMOTE_ADDR="")
    assert log_in("admin", PASSWORD, REMOTE_ADDR="").status_code == 429


def test_login__success_between__begins_to_count_anew(make_user) -> None:
    make_user(UserRole.ADMIN)
    fail("admin", 2)
    assert log_in("admin", PASSWORD).status_code == 302
    fail("admin", 2)
    assert log_in("admin", PASSWORD).status_code == 302


def test_login__time_is_over__is_let_in_although_somebody_went_on_trying(
    make_user, settings
) -> None:
    make_user(UserRole.ADMIN)
    fail("admin", 5)
    waited = timedelta(seconds=settings.KVPLANE_LOGIN_LOCK_SECONDS + 1)
    for attempt in AccessAttempt.objects.all():
        attempt.attempt_time -= waited
        attempt.save()
    assert log_in("admin", PASSWORD).status_code == 302


def test_login__admin_resets_it__is_let_in(make_user) -> None:
    make_user(UserRole.ADMIN)
    fail("admin", 3)
    call_command("axes_reset", verbosity=0)
    assert log_in("admin", PASSWORD).status_code == 302


def test_attempts__kept_meanwhile__have_no_password(make_user) -> None:
    make_user(UserRole.ADMIN)
    log_in("admin", "nearly-" + PASSWORD)
    assert AccessAttempt.objects.count() == 1
    assert PASSWORD not in str(list(AccessAttempt.objects.values()))
