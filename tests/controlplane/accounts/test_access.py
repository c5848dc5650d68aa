"""Who gets in, and as what."""

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.secrets import digest_of
from controlplane.audit.models import AuditEntry

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


def test_denied__many_from_one_address__are_bounded(viewer_api):
    for _ in range(30):
        viewer_api.get("/api/v1/users/")

    assert AuditEntry.objects.filter(action="access.denied").count() == 10


class TestMakingTokens:
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
        assert entry.request["before"] == {"role": "viewer"}
        assert entry.request["after"] == {"role": "operator"}
