"""Agents that register themselves with an enrolment token."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone
from rest_framework.test import APIClient

from controlplane.audit.models import AuditEntry
from controlplane.fleet import services
from controlplane.fleet.models import Agent, Engine, EnrolmentToken
from tests.controlplane.inference.pages import Page

pytestmark = pytest.mark.django_db


class TestEnrolment:
    SENT = {
        "name": "smol-worker-0",
        "url": "http://10.0.0.7:7000",
        "role": "worker",
        "worker_id": 0,
        "engine": "smol",
        "instance_id": "smol",
        "agent_token": "hush-1",
        "dialect": "kvplane",
        "boot_id": "b1",
    }

    @pytest.fixture
    def token(self, admin_api) -> str:
        return self.make(admin_api)

    def make(self, admin_api) -> str:
        response = admin_api.post("/api/v1/enrolment-tokens/", {"name": "rack 1"}, format="json")
        assert response.status_code == 201
        return response.json()["token"]

    def enrol(self, token: str, **changes: object):
        return APIClient().post(
            "/api/v1/enrol",
            {**self.SENT, **changes},
            format="json",
            HTTP_AUTHORIZATION=f"Bearer {token}",
        )

    def test_enrol__new_agent__is_known(self, token):
        response = self.enrol(token)

        assert response.status_code == 201
        assert "hush" not in response.content.decode()
        assert services.find_agent("smol-worker-0").bearer_token() == "hush-1"
        entry = AuditEntry.objects.get(action="agent.register")
        assert (entry.actor_kind, entry.actor_name) == ("agent", "smol-worker-0")
        assert token not in str(list(AuditEntry.objects.values()))

    def test_enrol__agent_started_anew__is_updated(self, token):
        self.enrol(token)
        response = self.enrol(token, boot_id="b2", url="http://10.0.0.9:7000")

        assert response.status_code == 200
        agent = Agent.objects.get()
        assert (agent.boot_id, agent.url) == ("b2", "http://10.0.0.9:7000")

    def test_enrol__enrolment_token_was_rotated__agent_token_proves_it(self, token, admin_api):
        self.enrol(token)
        EnrolmentToken.objects.update(revoked_at=timezone.now())
        response = self.enrol(self.make(admin_api), boot_id="b2")

        assert response.status_code == 200
        agent = Agent.objects.get()
        assert agent.boot_id == "b2"
        assert agent.enrolled_with == EnrolmentToken.objects.get(revoked_at=None)
        change = AuditEntry.objects.get(action="agent.update")
        assert change.before["enrolled_with"] != change.after["enrolled_with"]
        assert list(change.diff) == ["boot_id", "enrolled_with"]

    @pytest.mark.parametrize("other_enrolment_token", [True, False])
    @pytest.mark.parametrize("agent_token", ["hush-2", "", None])
    def test_enrol__without_the_stored_agent_token__is_refused_on_record(
        self, token, admin_api, other_enrolment_token, agent_token
    ):
        self.enrol(token)
        shown = self.make(admin_api) if other_enrolment_token else token
        engines = {"engine": "elsewhere"}
        response = self.enrol(shown, url="http://6.6.6.6:1", agent_token=agent_token, **engines)

        assert response.status_code == 409
        agent = Agent.objects.get()
        assert (agent.url, agent.engine.name) == ("http://10.0.0.7:7000", "smol")
        assert agent.bearer_token() == "hush-1"
        assert not Engine.objects.filter(name="elsewhere").exists()
        entry = AuditEntry.objects.get(action="agent.enrol")
        assert (entry.outcome, entry.status, entry.agent) == ("denied", 409, "smol-worker-0")
        assert entry.request["url"] == "http://6.6.6.6:1"
        assert "hush" not in str(entry.request)

    @pytest.mark.parametrize("url", ["http://10.0.0.7:7000", "http://10.0.0.9:7000"])
    def test_enrol__new_agent_token__is_an_admins_to_store(self, token, admin_api, url):
        self.enrol(token)
        assert self.enrol(token, url=url, agent_token="hush-2").status_code == 409

        admin_api.patch("/api/v1/agents/smol-worker-0/", {"token": "hush-2"}, format="json")
        assert self.enrol(token, url=url, agent_token="hush-2").status_code == 200

    @pytest.mark.parametrize("agent_token", ["", None])
    def test_enrol__agent_without_token__needs_the_same_enrolment_token(
        self, token, admin_api, agent_token
    ):
        assert self.enrol(token, agent_token=agent_token).status_code == 201
        assert Agent.objects.get().bearer_token() == ""

        moved = {"url": "http://127.0.0.1:7001", "agent_token": agent_token}
        assert self.enrol(token, **moved).status_code == 200
        assert self.enrol(self.make(admin_api), **moved).status_code == 409
        assert self.enrol(token, **{**moved, "url": "http://6.6.6.6:1"}).status_code == 200
        assert self.enrol(token, url="http://6.6.6.7:1", agent_token="x").status_code == 409

    def test_enrol__secret_key_was_lost__heals_where_the_agent_was(self, token, settings):
        self.enrol(token)
        settings.SECRET_KEY = "another-key-altogether"

        assert self.enrol(token, url="http://6.6.6.6:1").status_code == 409
        assert self.enrol(token).status_code == 200
        assert Agent.objects.get().bearer_token() == "hush-1"

    def test_enrol__name_inserted_meanwhile__is_tried_once_more(self, token, monkeypatch):
        write = services._write
        calls = []

        def beaten(*args):
            calls.append(args)
            if len(calls) == 1:
                write(*args)
                raise IntegrityError("UNIQUE constraint failed: fleet_agent.name")
            return write(*args)

        monkeypatch.setattr(services, "_write", beaten)

        assert self.enrol(token).status_code == 201
        assert len(calls) == 2
        assert Agent.objects.count() == 1

    def test_enrol__name_of_an_agent_of_another_token__is_not_taken_over(self, token, admin_api):
        self.enrol(token)
        response = self.enrol(self.make(admin_api), url="http://6.6.6.6:1", agent_token="guess")

        assert response.status_code == 409
        assert Agent.objects.get().url == "http://10.0.0.7:7000"

    def test_enrol__name_of_a_registered_agent__is_not_taken_over(self, token, make_agent):
        make_agent("smol-worker-0")

        assert self.enrol(token, url="http://6.6.6.6:1").status_code == 409
        assert Agent.objects.get().url == "http://127.0.0.1:7000"

    @pytest.mark.parametrize(
        "changes",
        [
            {"revoked_at": timezone.now()},
            {"expires_at": timezone.now() - timedelta(seconds=1)},
            {"digest": "0" * 64},
        ],
    )
    def test_enrol__token_not_good__is_401(self, token, changes):
        EnrolmentToken.objects.update(**changes)
        response = self.enrol(token)

        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert not Agent.objects.exists()

    def test_enrol__api_token__opens_no_door(self, make_user, make_token):
        from controlplane.accounts.models import UserRole

        assert self.enrol(make_token(make_user(UserRole.ADMIN))).status_code == 401

    def test_enrolment_token__as_api_token__opens_no_door(self, token):
        api = APIClient()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

        assert api.get("/api/v1/agents/").status_code == 401

    def test_enrolment_token__browsable_page__has_a_form_that_fits(self, admin_api):
        page = admin_api.get("/api/v1/enrolment-tokens/", HTTP_ACCEPT="text/html")

        assert {"name", "expires_at"} <= set(Page(page.content.decode()).call("POST").controls)

    def test_enrol__too_often__is_429_with_retry_after(self, token):
        answers = [self.enrol("kvpe_wrong") for _ in range(61)]

        assert answers[-1].status_code == 429
        assert int(answers[-1]["Retry-After"]) >= 1

    def test_enrol__bad_body__is_400_naming_the_field(self, token):
        response = self.enrol(token, role="boss")

        assert response.status_code == 400
        assert "role" in response.json()["fields"]
