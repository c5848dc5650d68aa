"""Users and their tokens: made, changed, revoked, on record."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient
from rest_framework.validators import UniqueValidator

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.secrets import digest_of
from controlplane.accounts.services import delete_user, update_user
from controlplane.audit.models import AuditEntry

from ..conftest import ACTOR
from .credentials import PASSWORD, bearer

pytestmark = pytest.mark.django_db


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

        assert not User.objects.filter(username=user.username).exists()

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
