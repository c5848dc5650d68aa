"""Who opens a WebSocket: sessions are looked at and left as they are."""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from controlplane.accounts.models import User, UserRole
from controlplane.live.credentials import UNAUTHENTICATED, Refused, check


def headers_with(settings, key: str) -> dict[bytes, bytes]:
    cookie = f"{settings.SESSION_COOKIE_NAME}={key}"
    return {b"cookie": cookie.encode(), b"origin": b"http://localhost"}


@pytest.fixture
def user(make_user) -> User:
    return make_user(UserRole.VIEWER)


@pytest.fixture
def key(settings, user) -> str:
    browser = Client()
    browser.force_login(user)
    return browser.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.mark.django_db
def test_check__secret_key_was_changed__session_stays_the_browsers(settings, key):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-key-of-the-control-plane"

    check(headers_with(settings, key))

    assert list(Session.objects.values_list("pk", flat=True)) == [key]


@pytest.mark.django_db
def test_check__password_was_changed__is_refused(settings, key, user):
    user.set_password("another-password-of-the-user")
    user.save()

    with pytest.raises(Refused) as refused:
        check(headers_with(settings, key))

    assert refused.value.code == UNAUTHENTICATED


@pytest.mark.django_db
def test_check__cookie_with_a_nul__is_refused_unasked(settings, django_assert_num_queries):
    with django_assert_num_queries(0), pytest.raises(Refused) as refused:
        check(headers_with(settings, '"abcdefghij\\000"'))

    assert refused.value.code == UNAUTHENTICATED
