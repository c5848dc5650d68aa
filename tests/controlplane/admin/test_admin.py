"""The admin site: every change through the services, no secret shown."""

import pytest
from django.test import Client
from django.urls import reverse

from controlplane.accounts import services
from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Agent, EnrolmentToken
from controlplane.operations.services import perform
from engine.contract import endpoint

from ..conftest import ACTOR, PASSWORD

pytestmark = pytest.mark.django_db
PAGES = ["audit_auditentry", "operations_operation", "fleet_agent", "fleet_engine"]
ADMIN_PAGES = ["accounts_user", "accounts_apitoken", "fleet_enrolmenttoken"]


@pytest.fixture
def operation(agents, make_agent):
    return perform(
        endpoint("enable_freeze"),
        [make_agent()],
        query="",
        body=None,
        actor=ACTOR,
        reason="maintenance",
        request_id="r",
        timeout=5,
    ).operation


@pytest.mark.parametrize("page", PAGES)
def test_lists__viewer__sees_and_searches(page_as, operation, page):
    client = page_as(UserRole.VIEWER)

    assert client.get(reverse(f"admin:{page}_changelist")).status_code == 200
    assert client.get(reverse(f"admin:{page}_changelist"), {"q": "worker-0"}).status_code == 200
    assert client.get(reverse(f"admin:{page}_add")).status_code == 403


@pytest.mark.parametrize("page", ADMIN_PAGES)
def test_lists__for_admins__operator_is_refused(page_as, page):
    assert page_as(UserRole.OPERATOR).get(reverse(f"admin:{page}_changelist")).status_code == 403


@pytest.mark.parametrize("page", [*PAGES, *ADMIN_PAGES])
def test_lists__admin__sees(page_as, operation, page):
    assert page_as(UserRole.ADMIN).get(reverse(f"admin:{page}_changelist")).status_code == 200


@pytest.mark.parametrize("page", ["audit_auditentry", "operations_operation"])
def test_record__admin__cannot_change_or_delete(page_as, operation, page):
    client = page_as(UserRole.ADMIN)
    pk = operation.pk if "operation" in page else AuditEntry.objects.first().pk

    assert client.get(reverse(f"admin:{page}_change", args=[pk])).status_code == 200
    assert client.post(reverse(f"admin:{page}_change", args=[pk]), {}).status_code == 403
    assert (
        client.post(reverse(f"admin:{page}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    )


def test_agent__changed_and_removed__on_record_and_token_not_shown(page_as, make_agent):
    client = page_as(UserRole.ADMIN)
    agent = make_agent(token="hush-hush")
    url = reverse("admin:fleet_agent_change", args=[agent.pk])
    assert "hush" not in client.get(url).content.decode()
    assert agent.encrypted_token not in client.get(url).content.decode()

    sent = {
        "engine": agent.engine_id,
        "role": "worker",
        "worker_id": 0,
        "url": "http://10.0.0.9:7000",
        "dialect": "kvplane",
        "labels": '{"zone": "a"}',
        "instance_id": "",
        "new_token": "",
    }
    assert client.post(url, sent).status_code == 302
    stored = Agent.objects.get()
    assert (stored.url, stored.labels) == ("http://10.0.0.9:7000", {"zone": "a"})
    assert stored.bearer_token() == "hush-hush"
    assert AuditEntry.objects.get(action="agent.update").actor_name == "admin"

    client.post(reverse("admin:fleet_agent_delete", args=[agent.pk]), {"post": "yes"})
    assert not Agent.objects.exists()
    assert AuditEntry.objects.filter(action="agent.remove").count() == 1


def test_agent__bad_url__is_shown_at_the_field(page_as, make_agent):
    agent = make_agent()
    sent = {
        "engine": agent.engine_id,
        "role": "worker",
        "worker_id": 0,
        "url": "ftp://h",
        "dialect": "kvplane",
        "labels": "{}",
    }
    response = page_as(UserRole.ADMIN).post(
        reverse("admin:fleet_agent_change", args=[agent.pk]), sent
    )

    assert response.status_code == 200
    assert "url" in response.context["adminform"].form.errors


def test_agent__added__through_the_services(page_as, make_agent):
    engine = make_agent().engine_id
    sent = {
        "name": "worker-9",
        "engine": engine,
        "role": "worker",
        "worker_id": 9,
        "url": "http://10.0.0.9:7000",
        "dialect": "lmcache",
        "labels": "{}",
        "new_token": "hush",
    }
    response = page_as(UserRole.ADMIN).post(reverse("admin:fleet_agent_add"), sent)

    assert response.status_code == 302
    assert Agent.objects.get(name="worker-9").bearer_token() == "hush"
    assert AuditEntry.objects.get(action="agent.register", agent="worker-9").actor_name == "admin"


@pytest.mark.parametrize(
    ("page", "model", "begins"),
    [("accounts_apitoken", ApiToken, "kvp_"), ("fleet_enrolmenttoken", EnrolmentToken, "kvpe_")],
)
def test_token__added__is_shown_once_and_revoked_by_the_action(page_as, page, model, begins):
    client = page_as(UserRole.ADMIN)
    sent = {"name": "ci", "role": "viewer", "user": User.objects.get().pk}
    shown = client.post(reverse(f"admin:{page}_add"), sent)

    assert f"<code>{begins}" in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    token = model.objects.get()
    assert (
        token.digest
        not in client.get(reverse(f"admin:{page}_change", args=[token.pk])).content.decode()
    )

    client.post(
        reverse(f"admin:{page}_changelist"),
        {"action": "revoke", "_selected_action": [token.pk]},
    )
    assert model.objects.get().revoked_at is not None


def test_user__added_and_changed__on_record(page_as):
    client = page_as(UserRole.ADMIN)
    sent = {"username": "ada", "email": "", "role": "viewer", "is_active": "on"}
    assert client.post(reverse("admin:accounts_user_add"), sent).status_code == 200
    client.post(reverse("admin:accounts_user_add"), {**sent, "new_password": PASSWORD})
    ada = User.objects.get(username="ada")
    assert ada.check_password(PASSWORD)

    client.post(reverse("admin:accounts_user_change", args=[ada.pk]), {**sent, "role": "operator"})
    ada.refresh_from_db()
    assert ada.role == UserRole.OPERATOR
    assert ada.check_password(PASSWORD)
    entries = AuditEntry.objects.filter(action__startswith="user.").order_by("id")
    actions = entries.values_list("action", flat=True)
    assert list(actions) == ["user.login", "user.create", "user.update"]


def test_admin__anonymous__is_sent_to_log_in():
    assert Client().get("/admin/").status_code == 302


def log_in(username: str, path: str = "/admin/login/?next=/admin/") -> tuple[Client, object]:
    client = Client(enforce_csrf_checks=True)
    client.get(path)
    sent = {
        "username": username,
        "password": PASSWORD,
        "csrfmiddlewaretoken": client.cookies["kvplane_csrf"].value,
        "next": "/admin/",
    }
    return client, client.post(path, sent)


def test_login__admin_who_is_not_staff__gets_in(make_user):
    assert not make_user(UserRole.ADMIN).is_staff
    client, response = log_in("admin")

    assert (response.status_code, response["Location"]) == (302, "/admin/")
    page = client.get("/admin/")
    assert page.status_code == 200
    assert "may look" not in page.content.decode()


def test_login__viewer__gets_in_and_is_told_what_the_role_allows(make_user):
    make_user(UserRole.VIEWER)
    client, response = log_in("viewer")

    assert response.status_code == 302
    assert (
        "viewer&#x27; may look; only admins change anything"
        in client.get("/admin/").content.decode()
    )


def test_login__wrong_password__is_told_so(make_user):
    make_user(UserRole.ADMIN).set_password("another")
    _, response = log_in("nobody")

    assert response.status_code == 200
    assert "correct username and password" in response.content.decode()


def test_password__changed_in_the_admin__on_record_and_session_lives_on(make_user):
    user = make_user(UserRole.OPERATOR)
    client = Client()
    client.force_login(user)
    sent = {"old_password": PASSWORD, "new_password1": "x", "new_password2": "x"}
    assert client.post("/admin/password_change/", sent).status_code == 200
    new = PASSWORD[::-1]
    sent |= {"new_password1": new, "new_password2": new}
    response = client.post("/admin/password_change/", sent, HTTP_X_REQUEST_ID="r-1")

    assert response.status_code == 302
    assert client.get("/admin/").status_code == 200
    user.refresh_from_db()
    assert user.check_password(new)
    entry = AuditEntry.objects.get(action="user.update")
    assert (entry.actor_name, entry.request_id) == ("operator", "r-1")
    assert entry.after == {}
    assert new not in str(entry.request)


def test_last_admin__demoted_in_the_admin__is_told_at_the_form(page_as):
    client = page_as(UserRole.ADMIN)
    admin = User.objects.get()
    for change in ({"role": "viewer", "is_active": "on"}, {"role": "admin"}):
        response = client.post(
            reverse("admin:accounts_user_change", args=[admin.pk]), {"email": "", **change}
        )

        assert response.status_code == 200
        assert "only active admin" in response.content.decode()
    admin.refresh_from_db()
    assert admin.access_role is UserRole.ADMIN
    assert admin.is_active


def test_change__refused_by_the_service_after_the_form__is_told(page_as, monkeypatch):
    client = page_as(UserRole.ADMIN)

    def refuse(**kwargs):
        raise services.NameTaken("ada")

    monkeypatch.setattr(services, "create_user", refuse)
    sent = {"username": "ada", "email": "", "role": "viewer", "new_password": PASSWORD}
    response = client.post(reverse("admin:accounts_user_add"), sent, follow=True)

    assert response.status_code == 200
    assert "choose another name" in response.content.decode()


def test_user__added_inactive__is_inactive(page_as):
    sent = {"username": "ada", "email": "", "role": "viewer", "new_password": PASSWORD}
    page_as(UserRole.ADMIN).post(reverse("admin:accounts_user_add"), sent)

    assert not User.objects.get(username="ada").is_active


def test_denied__page_of_the_admin__on_record(page_as):
    page_as(UserRole.VIEWER).get("/admin/accounts/user/", HTTP_X_REQUEST_ID="r-1")

    entry = AuditEntry.objects.get(action="access.denied")
    assert (entry.actor_name, entry.status, entry.request_id) == ("viewer", 403, "r-1")
    assert entry.request["path"] == "/admin/accounts/user/"


def test_denied__form_without_csrf_token__on_record(make_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user(UserRole.ADMIN))
    assert client.post("/admin/logout/").status_code == 403

    entry = AuditEntry.objects.get(action="access.denied")
    assert (entry.actor_name, entry.status) == ("admin", 403)
