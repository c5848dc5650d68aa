"""Audit entries take turns until they are committed, so nothing else is written after one:
whoever has the turn would wait for a row of somebody who waits for the turn."""

import re
from collections.abc import Callable, Iterable, Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from controlplane.accounts.models import User, UserRole
from controlplane.fleet.models import Engine, EnrolmentToken
from controlplane.operations.runner import shared_runner

from ..conftest import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)
AGENT = {"name": "w9", "role": "worker", "worker_id": 9, "url": "http://10.0.0.9:7000"}
ENTRY = re.compile(r"INSERT INTO \"?audit_auditentry\b")
WRITE = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) \"?(\w+)")


def written_after_an_entry(statements: Iterable[str]) -> Iterator[str]:
    """Statements that write something else in the transaction of an audit entry, after it."""
    has_entry = False
    for statement in statements:
        if statement in ("BEGIN", "COMMIT", "ROLLBACK"):
            has_entry = False
        elif ENTRY.match(statement):
            has_entry = True
        elif has_entry and WRITE.match(statement):
            yield statement


@pytest.fixture
def check() -> Callable[[Callable[[], object]], None]:
    """Does it, and looks at what is written."""

    def check_that(door: Callable[[], object]) -> None:
        with CaptureQueriesContext(connection) as captured:
            door()
        statements = [query["sql"] for query in captured.captured_queries]

        assert any(map(ENTRY.match, statements))
        assert list(written_after_an_entry(statements)) == []

    return check_that


@pytest.fixture
def pages(make_user) -> Client:
    """An admin in the admin."""
    client = Client()
    client.force_login(make_user(UserRole.ADMIN, "boss"))
    return client


def test_agent__of_a_new_engine__registered_and_changed(check, admin_api):
    def register(**more: object) -> None:
        sent = {**AGENT, "engine": "e9", **more}
        assert admin_api.post("/api/v1/agents/", sent, format="json").status_code in (200, 201)

    check(register)
    check(lambda: register(engine="e10"))
    check(lambda: admin_api.patch("/api/v1/agents/w9/", {"engine": "e11"}, format="json"))
    check(lambda: admin_api.delete("/api/v1/agents/w9/"))


def test_agent__enrolled_with_a_new_engine_and_gone(check, admin_api):
    token = admin_api.post("/api/v1/enrolment-tokens/", {"name": "rack"}, format="json").json()
    number = EnrolmentToken.objects.get().pk
    api = APIClient(HTTP_AUTHORIZATION=f"Bearer {token['token']}")
    told = {**AGENT, "engine": "e9", "agent_token": "kv", "boot_id": "b"}
    check(lambda: api.post("/api/v1/enrol", told, format="json"))
    check(lambda: api.post("/api/v1/enrol/leave", told, format="json"))
    check(lambda: admin_api.delete(f"/api/v1/enrolment-tokens/{number}/"))


def test_user__made_changed_and_deleted(check, admin_api):
    new = {"username": "ada", "password": PASSWORD, "role": "viewer"}
    check(lambda: admin_api.post("/api/v1/users/", new, format="json"))
    path = f"/api/v1/users/{User.objects.get(username='ada').pk}/"
    check(lambda: admin_api.patch(path, {"role": "operator"}, format="json"))
    check(lambda: admin_api.delete(path))


def test_operations__one_agent_and_several(check, operator_api, fleet):
    fleet()
    check(lambda: operator_api.put("/agents/worker-0/freeze/enable"))
    check(lambda: operator_api.post("/agents/worker-0/conf", {"chunk_size": 1}, format="json"))
    wave = {"action": "freeze.disable", "selector": {"everybody": True}}
    check(lambda: operator_api.post("/api/v1/operations/?wait=5", wave, format="json"))
    shared_runner().close()


def test_pages__engine_and_agent__made_changed_and_deleted(check, pages):
    def post(name: str, sent: dict[str, object], *args: object) -> None:
        assert pages.post(reverse(f"admin:{name}", args=args), sent).status_code == 302

    check(lambda: post("fleet_engine_add", {"name": "e9", "labels": "{}"}))
    engine = Engine.objects.get().pk
    check(lambda: post("fleet_engine_change", {"name": "e8", "labels": "{}"}, engine))
    agent = {**AGENT, "engine": engine, "dialect": "kvplane", "labels": "{}"}
    check(lambda: post("fleet_agent_add", agent))
    number = Engine.objects.get().agents.get().pk
    check(lambda: post("fleet_agent_change", {**agent, "worker_id": 8}, number))
    check(lambda: post("fleet_agent_delete", {"post": "yes"}, number))
    check(lambda: post("fleet_engine_delete", {"post": "yes"}, engine))
    assert pages.get(reverse("admin:index")).content.decode().count("e8") >= 1


def test_pages__user__made_and_changed(check, pages):
    sent = {"username": "ada", "email": "", "role": "viewer", "is_active": "on"}
    new = {**sent, "new_password": PASSWORD}
    check(lambda: pages.post(reverse("admin:accounts_user_add"), new))
    path = reverse("admin:accounts_user_change", args=[User.objects.get(username="ada").pk])
    check(lambda: pages.post(path, {**sent, "role": "operator"}))
    assert User.objects.get(username="ada").role == UserRole.OPERATOR
