"""Who gets in, and as what."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.validators import UniqueValidator

from controlplane.accounts.actors import command_actor, source_address
from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.secrets import digest_of
from controlplane.accounts.services import delete_user, update_user
from controlplane.accounts.views import TokenViewSet
from controlplane.audit import services as audit_services
from controlplane.audit.limits import MAX_ACTOR_NAME
from controlplane.audit.models import AuditEntry
from controlplane.operations.models import Operation
from tests.controlplane.inference.pages import Page

from ..conftest import ACTOR

pytestmark = pytest.mark.django_db
PASSWORD = "correct-horse-battery-staple"


def bearer(plaintext: str) -> APIClient:
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {plaintext}")
    return api


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
    make_user(UserRole.ADMIN)
    api = APIClient(enforce_csrf_checks=True)
    assert api.login(username="admin", password=PASSWORD)

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


class TestMakingTokens:
    def test_token__name_with_control_characters__is_400_naming_it(self, admin_api):
        sent = {"name": "a\x1bb", "role": "viewer"}
        response = admin_api.post("/api/v1/tokens/", sent, format="json")

        assert response.status_code == 400
        assert "name" in response.json()["fields"]

    def test_token__made_in_a_session__works_and_is_never_shown_again(self, make_user):
        user = make_user(UserRole.OPERATOR)
        api = APIClient()
        api.force_login(user)
        response = api.post("/api/v1/tokens/", {"name": "ci", "role": "operator"}, format="json")

        assert response.status_code == 201
        assert response["Cache-Control"] == "no-store"
        plaintext = response.json()["token"]
        assert bearer(plaintext).get("/api/v1/agents/").status_code == 200
        shown_later = (
            api.get("/api/v1/tokens/").content.decode()
            + api.get(f"/api/v1/tokens/{response.json()['details']['id']}/").content.decode()
        )
        assert plaintext not in shown_later
        assert digest_of(plaintext) not in shown_later
        assert plaintext not in str(list(AuditEntry.objects.values()))
        assert ApiToken.objects.get().digest == digest_of(plaintext)

    def test_token__above_the_users_role__is_refused(self, make_user):
        api = APIClient()
        api.force_login(make_user(UserRole.OPERATOR))
        response = api.post("/api/v1/tokens/", {"name": "x", "role": "admin"}, format="json")

        assert response.status_code == 403
        assert "role" in response.json()["fields"]
        assert not ApiToken.objects.exists()

    def test_token__made_with_a_lesser_token_of_an_admin__is_refused(self, make_user, make_token):
        api = bearer(make_token(make_user(UserRole.ADMIN), UserRole.OPERATOR))
        response = api.post("/api/v1/tokens/", {"name": "x", "role": "viewer"}, format="json")

        assert response.status_code == 403
        assert ApiToken.objects.count() == 1

    def test_token__for_somebody_else__is_for_admins(self, make_user):
        make_user(UserRole.VIEWER)
        api = APIClient()
        api.force_login(make_user(UserRole.OPERATOR))
        response = api.post(
            "/api/v1/tokens/", {"name": "x", "role": "viewer", "user": "viewer"}, format="json"
        )

        assert response.status_code == 403

    def test_token__of_somebody_else__is_not_seen(self, make_user, make_token, viewer_api):
        make_token(make_user(UserRole.ADMIN), name="theirs")
        theirs = ApiToken.objects.get(name="theirs")

        assert viewer_api.get(f"/api/v1/tokens/{theirs.pk}/").status_code == 404
        assert viewer_api.delete(f"/api/v1/tokens/{theirs.pk}/").status_code == 404
        names = [token["name"] for token in viewer_api.get("/api/v1/tokens/").json()["results"]]
        assert names == ["tests"]

    def test_token__revoked_by_itself__is_useless_and_stays_on_the_list(
        self, make_user, make_token, admin_api
    ):
        api = bearer(make_token(make_user(UserRole.VIEWER), name="mine"))
        pk = ApiToken.objects.get(name="mine").pk

        assert api.delete(f"/api/v1/tokens/{pk}/").status_code == 204
        assert api.get("/api/v1/agents/").status_code == 401
        assert admin_api.get(f"/api/v1/tokens/{pk}/").json()["revoked_at"] is not None


class TestUsers:
    def test_user__name_taken_meanwhile__is_409(self, admin_api, monkeypatch):
        monkeypatch.setattr(UniqueValidator, "__call__", lambda *args: None)
        sent = {"username": "admin", "password": PASSWORD, "role": "viewer"}
        response = admin_api.post("/api/v1/users/", sent, format="json")

        assert response.status_code == 409
        assert response.json()["error"] == "Name taken"

    def test_user__changed__admins_are_locked_first_and_in_order(self, make_user):
        user = make_user(UserRole.ADMIN)
        for change in (
            lambda: update_user(user, {"email": "a@b.de"}, actor=ACTOR, request_id="r"),
            lambda: delete_user(user, actor=ACTOR, request_id="r"),
        ):
            make_user(UserRole.ADMIN, f"other-{User.objects.count()}")
            with CaptureQueriesContext(connection) as captured:
                change()
            first = next(query["sql"] for query in captured if "SELECT" in query["sql"])
            assert "role" in first.partition("WHERE")[2]
            assert "ORDER BY" in first

    def test_viewer__changed_while_nobody_is_admin__is_allowed(self, make_user):
        user = make_user(UserRole.VIEWER)

        delete_user(user, actor=ACTOR, request_id="r")

    def test_user__made_by_admin__is_on_record_without_password(self, admin_api):
        sent = {"username": "ada", "password": PASSWORD, "role": "operator"}
        response = admin_api.post("/api/v1/users/", sent, format="json")

        assert response.status_code == 201
        assert "password" not in response.json()
        entry = AuditEntry.objects.get(action="user.create")
        assert entry.actor_name == "admin/tests"
        assert PASSWORD not in str(entry.request)
        assert User.objects.get(username="ada").check_password(PASSWORD)

    @pytest.mark.parametrize("password", ["short", "password123", "12345678901", "\x00" * 12])
    def test_user__weak_password__is_400_naming_it(self, admin_api, password):
        sent = {"username": "ada", "password": password, "role": "viewer"}
        response = admin_api.post("/api/v1/users/", sent, format="json")

        assert response.status_code == 400
        assert not User.objects.filter(username="ada").exists()

    def test_user__name_taken__is_400_naming_it(self, admin_api):
        sent = {"username": "admin", "password": PASSWORD, "role": "viewer"}
        response = admin_api.post("/api/v1/users/", sent, format="json")

        assert response.status_code == 400
        assert "username" in response.json()["fields"]

    @pytest.mark.parametrize("changes", [{"role": "viewer"}, {"is_active": False}])
    def test_last_admin__demoted_or_switched_off__is_refused(self, admin_api, changes):
        pk = User.objects.get(username="admin").pk
        response = admin_api.patch(f"/api/v1/users/{pk}/", changes, format="json")

        assert response.status_code == 409
        assert User.objects.get(pk=pk).access_role is UserRole.ADMIN
        assert User.objects.get(pk=pk).is_active

    def test_last_admin__deleted__is_refused(self, admin_api):
        pk = User.objects.get(username="admin").pk

        assert admin_api.delete(f"/api/v1/users/{pk}/").status_code == 409
        assert User.objects.filter(pk=pk).exists()

    def test_user__deleted__history_stays(self, admin_api, make_user):
        make_user(UserRole.ADMIN, "second")
        pk = User.objects.get(username="second").pk
        assert admin_api.delete(f"/api/v1/users/{pk}/").status_code == 204

        assert AuditEntry.objects.get(action="user.delete").request["username"] == "second"

    def test_user__changed__before_and_after_are_on_record(self, admin_api, make_user):
        pk = make_user(UserRole.VIEWER).pk
        admin_api.patch(f"/api/v1/users/{pk}/", {"role": "operator"}, format="json")

        entry = AuditEntry.objects.get(action="user.update")
        assert entry.before == {"role": "viewer"}
        assert entry.after == {"role": "operator"}


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
