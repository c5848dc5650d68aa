"""Who gets in, and as what."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from controlplane.accounts.actors import command_actor, source_address
from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.views import TokenViewSet
from controlplane.audit import services as audit_services
from controlplane.audit.limits import MAX_ACTOR_NAME
from controlplane.audit.models import AuditEntry
from controlplane.operations.models import Operation
from tests.controlplane.inference.pages import Page

from .credentials import PASSWORD, bearer

pytestmark = pytest.mark.django_db


READS = ["/api/v1/agents/", "/api/v1/engines/", "/api/v1/operations/", "/api/v1/audit/"]
ADMIN_READS = ["/api/v1/users/", "/api/v1/enrolment-tokens/"]


@pytest.mark.parametrize("path", [*READS, *ADMIN_READS, "/api/v1/tokens/"])
def test_access__anonymous__is_401_with_a_challenge(path):
    response = APIClient().get(path)

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert set(response.json()) == {"error", "message"}


@pytest.mark.parametrize("path", READS)
def test_access__viewer__reads(viewer_api, path):
    assert viewer_api.get(path).status_code == 200


@pytest.mark.parametrize("path", ADMIN_READS)
def test_access__operator__does_not_see_what_is_for_admins(operator_api, path):
    assert operator_api.get(path).status_code == 403


WRITES = [
    ("post", "/api/v1/agents/"),
    ("put", "/api/v1/agents/worker-0/"),
    ("patch", "/api/v1/agents/worker-0/"),
    ("delete", "/api/v1/agents/worker-0/"),
    ("post", "/api/v1/engines/"),
    ("put", "/api/v1/engines/engine-a/"),
    ("delete", "/api/v1/engines/engine-a/"),
    ("post", "/api/v1/users/"),
    ("patch", "/api/v1/users/1/"),
    ("delete", "/api/v1/users/1/"),
    ("post", "/api/v1/enrolment-tokens/"),
    ("delete", "/api/v1/enrolment-tokens/1/"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_access__operator__does_not_manage(operator_api, make_agent, method, path):
    make_agent()

    assert getattr(operator_api, method)(path, {}, format="json").status_code == 403


def test_access__viewer__does_not_probe(viewer_api, make_agent, agents):
    make_agent()

    assert viewer_api.post("/api/v1/agents/worker-0/probe").status_code == 403
    assert agents.requests == []


@pytest.mark.parametrize(
    "changes",
    [
        {"revoked_at": timezone.now()},
        {"expires_at": timezone.now() - timedelta(seconds=1)},
    ],
)
def test_token__revoked_or_expired__is_401(make_user, make_token, changes):
    plaintext = make_token(make_user(UserRole.VIEWER))
    ApiToken.objects.update(**changes)

    assert bearer(plaintext).get("/api/v1/agents/").status_code == 401


def test_token__of_inactive_user__is_401(make_user, make_token):
    user = make_user(UserRole.ADMIN)
    plaintext = make_token(user)
    User.objects.filter(pk=user.pk).update(is_active=False)

    assert bearer(plaintext).get("/api/v1/agents/").status_code == 401


def test_token__user_demoted__token_is_demoted_with_the_user(make_user, make_token):
    user = make_user(UserRole.ADMIN)
    plaintext = make_token(user)
    User.objects.filter(pk=user.pk).update(role=UserRole.VIEWER)

    assert bearer(plaintext).get("/api/v1/users/").status_code == 403
    assert bearer(plaintext).get("/api/v1/agents/").status_code == 200


def test_token__lower_than_its_user__acts_with_its_own_role(make_user, make_token):
    plaintext = make_token(make_user(UserRole.ADMIN), UserRole.VIEWER)

    assert bearer(plaintext).get("/api/v1/users/").status_code == 403


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer x", "Bearer kvp_" + "a" * 43, "Bearer \xff"]
)
def test_token__unknown__is_401(header):
    response = APIClient().get("/api/v1/agents/", HTTP_AUTHORIZATION=header)

    assert response.status_code == 401


def test_token__in_use__is_noted_at_most_every_five_minutes(
    make_user, make_token, django_assert_num_queries
):
    api = bearer(make_token(make_user(UserRole.VIEWER)))
    api.get("/api/v1/agents/")
    first = ApiToken.objects.get().last_used_at

    api.get("/api/v1/agents/")

    assert first is not None
    assert ApiToken.objects.get().last_used_at == first


def test_session__change_without_csrf_token__is_refused(make_user):
    api = APIClient(enforce_csrf_checks=True)
    # Not by force_authenticate, which leaves the check out.
    Client.force_login(api, make_user(UserRole.ADMIN))

    assert api.get("/api/v1/users/").status_code == 200
    response = api.post("/api/v1/enrolment-tokens/", {"name": "x"}, format="json")
    assert response.status_code == 403
    assert "CSRF" in response.json()["message"]


def test_denied__goes_on_record_without_the_token(make_user, make_token):
    plaintext = make_token(make_user(UserRole.VIEWER))
    bearer(plaintext).get("/api/v1/users/")
    bearer("kvp_" + "a" * 43).get("/api/v1/users/")

    denied = AuditEntry.objects.filter(action="access.denied").order_by("id")
    assert [entry.status for entry in denied] == [403, 401]
    assert denied[0].actor_name == "viewer/tests"
    assert plaintext not in str(list(denied.values()))


def test_denied__many_by_nobody_known_from_one_address__are_bounded_and_counted(db):
    for _ in range(30):
        APIClient().get("/api/v1/users/")

    assert AuditEntry.objects.filter(action="access.denied").count() == 10


def test_denied__many_by_somebody_known__are_all_on_record(viewer_api):
    for _ in range(30):
        viewer_api.get("/api/v1/users/")

    assert AuditEntry.objects.filter(action="access.denied").count() == 30


def test_denied__anonymous_flood__does_not_hide_who_is_known(viewer_api):
    for _ in range(30):
        APIClient().get("/api/v1/users/")
    viewer_api.get("/api/v1/users/")

    assert AuditEntry.objects.filter(actor_name="viewer/tests", action="access.denied").exists()


def test_session__logins_and_logout__on_record_without_the_password(make_user):
    make_user(UserRole.ADMIN)
    client = Client()
    for password in ("wrong-" + PASSWORD, PASSWORD):
        sent = {"username": "admin", "password": password}
        client.post("/admin/login/", sent, HTTP_X_REQUEST_ID="r-1", REMOTE_ADDR="10.9.8.7")
    client.post("/admin/logout/", HTTP_X_REQUEST_ID="r-2")

    failed, opened, closed = AuditEntry.objects.order_by("id")
    assert (failed.action, failed.outcome) == ("user.login", "denied")
    assert failed.request["username"] == "admin"
    assert (opened.action, opened.outcome) == ("user.login", "succeeded")
    assert (opened.actor_name, opened.request_id) == ("admin", "r-1")
    assert {failed.source_address, opened.source_address} == {"10.9.8.7"}
    assert (closed.action, closed.actor_name, closed.request_id) == ("user.logout", "admin", "r-2")
    assert PASSWORD not in str(list(AuditEntry.objects.values()))


def test_session__many_failed_logins__are_bounded(db):
    for number in range(30):
        sent = {"username": f"nobody-{number}", "password": "x"}
        Client().post("/admin/login/", sent)

    assert AuditEntry.objects.filter(action="user.login").count() == 10


def test_session__logout_that_cannot_be_recorded__still_happens(make_user, monkeypatch):
    client = Client()
    client.force_login(make_user(UserRole.ADMIN))

    def broken(**kwargs):
        raise DatabaseError("disk full")

    monkeypatch.setattr(audit_services, "record", broken)
    client.post("/admin/logout/")

    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, DatabaseError])
def test_database__fails__is_503_as_json(viewer_api, monkeypatch, error):
    def broken(*args):
        raise error("disk full at /secret/path")

    monkeypatch.setattr(TokenViewSet, "filter_queryset", broken)
    response = viewer_api.get("/api/v1/tokens/")

    assert response.status_code == 503
    assert set(response.json()) == {"error", "message"}
    assert "secret" not in response.content.decode()


def test_throttle__forwarded_for__is_not_believed(rf):
    throttle = SimpleRateThrottle.__new__(SimpleRateThrottle)
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="1.2.3.4")

    assert throttle.get_ident(request) == "10.0.0.1"


def test_browsable_tokens__form__asks_for_what_a_token_needs(make_user):
    api = APIClient()
    api.force_login(make_user(UserRole.ADMIN))
    page = api.get("/api/v1/tokens/", HTTP_ACCEPT="text/html").content.decode()

    assert {"name", "role", "expires_at", "user"} <= set(Page(page).call("POST").controls)


def test_actor__longest_names__fit_the_columns():
    longest = User._meta.get_field("username").max_length + 1
    longest += ApiToken._meta.get_field("name").max_length

    assert longest <= MAX_ACTOR_NAME
    assert Operation._meta.get_field("actor_name").max_length == MAX_ACTOR_NAME
    assert AuditEntry._meta.get_field("actor_name").output_field.max_length == MAX_ACTOR_NAME


def test_actor__source_address_of_any_length__fits_the_column(rf):
    request = rf.get("/", REMOTE_ADDR="x" * 300)

    fits = Operation._meta.get_field("source_address").max_length
    assert len(source_address(request)) <= fits


def test_command_actor__account_name_from_the_environment__fits_the_column(monkeypatch):
    monkeypatch.setenv("LOGNAME", "x" * 1000)

    assert len(command_actor("x").name) <= MAX_ACTOR_NAME


class TestTokenBesideSession:
    """A call with a token and the cookies of a browser."""

    def test_good_token__session_is_not_looked_at(self, make_user, make_token, client):
        client.force_login(make_user(UserRole.ADMIN))
        token = make_token(make_user(UserRole.VIEWER))
        authorization = {"authorization": f"bearer {token}"}
        client.get("/api/v1/agents/", headers=authorization)

        with CaptureQueriesContext(connection) as captured:
            allowed = client.get("/api/v1/agents/", headers=authorization)
        refused = client.get("/api/v1/users/", headers=authorization)

        assert (allowed.status_code, refused.status_code) == (200, 403)
        assert not any("django_session" in query["sql"] for query in captured)

    def test_bad_token__session_does_not_make_up_for_it(self, make_user, client):
        client.force_login(make_user(UserRole.ADMIN))

        refused = client.get("/api/v1/users/", headers={"authorization": "Bearer kvp_unknown"})

        assert refused.status_code == 401

    def test_good_token__page_of_the_api__is_shown(self, make_user, make_token, client):
        token = make_token(make_user(UserRole.OPERATOR))
        headers = {"authorization": f"Bearer {token}", "accept": "text/html"}

        page = client.get("/api/v1/agents/", headers=headers)

        assert page.status_code == 200
        assert "operator" in page.content.decode()

    def test_any_token__admin_pages__go_by_the_session(self, make_user, client):
        headers = {"authorization": "Bearer kvp_unknown"}
        assert client.get("/admin/", headers=headers).status_code == 302

        client.force_login(
            User.objects.create_superuser("root", password=PASSWORD, role=UserRole.ADMIN)
        )

        assert client.get("/admin/", headers=headers).status_code == 200

    def test_any_token__form_without_csrf_token__is_refused(self, make_user):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(
            User.objects.create_superuser("root", password=PASSWORD, role=UserRole.ADMIN)
        )

        refused = browser.post("/admin/logout/", headers={"authorization": "Bearer kvp_unknown"})

        assert refused.status_code == 403
        assert browser.get("/admin/").status_code == 200

    def test_other_scheme__session_counts(self, make_user, client):
        client.force_login(make_user(UserRole.ADMIN))

        allowed = client.get("/api/v1/users/", headers={"authorization": "Basic cm9vdDpyb290"})

        assert allowed.status_code == 200
