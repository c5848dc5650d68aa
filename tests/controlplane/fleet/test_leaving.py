"""Agents that say that their process ends, through the API."""

from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import AuditEntry
from controlplane.fleet import services
from controlplane.fleet.models import Agent, EnrolmentToken
from controlplane.fleet.observing import record_observation
from engine.contract import Component

pytestmark = pytest.mark.django_db
ADMIN = Actor(ActorKind.COMMAND, "test", "", "")


@pytest.fixture
def secret() -> str:
    return services.create_enrolment_token(
        name="racks", expires_at=None, actor=ADMIN, request_id="r1"
    ).plaintext


def post(client, path: str, secret: str, **document: object):
    return client.post(
        path,
        document,
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}"},
    )


def enrol(client, secret: str, boot_id: str = "boot-1", agent_token: str | None = "kv") -> None:
    answer = post(
        client,
        "/api/v1/enrol",
        secret,
        name="scheduler",
        url="http://10.0.0.7:6999",
        role="scheduler",
        engine="e1",
        agent_token=agent_token,
        boot_id=boot_id,
    )
    assert answer.status_code in (200, 201), answer.content


def leave(client, secret: str, boot_id: str = "boot-1", agent_token: str | None = "kv"):
    return post(
        client,
        "/api/v1/enrol/leave",
        secret,
        name="scheduler",
        agent_token=agent_token,
        boot_id=boot_id,
    )


def outcomes() -> list[str]:
    entries = AuditEntry.objects.filter(action="agent.leave").order_by("pk")
    return list(entries.values_list("outcome", flat=True))


def test_leave__own_agent__has_left_and_stays_registered(client, secret: str) -> None:
    enrol(client, secret)
    answer = leave(client, secret)
    assert answer.status_code == 200
    assert answer.json()["left_at"] is not None
    assert Agent.objects.get().left_at is not None
    assert answer.json()["health"] == "offline"
    assert outcomes() == ["succeeded"]


def test_leave__said_twice__recorded_once(client, secret: str) -> None:
    enrol(client, secret)
    first = leave(client, secret).json()["left_at"]
    assert leave(client, secret).json()["left_at"] == first
    assert outcomes() == ["succeeded"]


def test_leave__started_again_meanwhile__does_not_count(client, secret: str) -> None:
    enrol(client, secret, "boot-1")
    enrol(client, secret, "boot-2")
    answer = leave(client, secret, "boot-1")
    assert (answer.status_code, answer.json()["left_at"]) == (200, None)
    assert outcomes() == []


def test_enrol__after_leaving__is_back(client, secret: str) -> None:
    enrol(client, secret)
    leave(client, secret)
    enrol(client, secret, "boot-2")
    assert Agent.objects.get().left_at is None


@pytest.mark.parametrize("agent_token", ["other", "", None])
def test_leave__anothers_agent__refused_and_on_record(client, secret: str, agent_token) -> None:
    enrol(client, secret)
    assert leave(client, secret, agent_token=agent_token).status_code == 403
    assert Agent.objects.get().left_at is None
    assert outcomes() == ["denied"]


def test_leave__no_stored_token__needs_the_enrolment_token_it_came_with(
    client, secret: str
) -> None:
    enrol(client, secret, agent_token=None)
    other = services.create_enrolment_token(
        name="other", expires_at=None, actor=ADMIN, request_id="r2"
    ).plaintext
    assert leave(client, other, agent_token=None).status_code == 403
    assert leave(client, secret, agent_token=None).status_code == 200
    assert Agent.objects.get().left_at is not None


def test_leave__enrolment_token_expired__is_taken(client, secret: str) -> None:
    enrol(client, secret)
    EnrolmentToken.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert leave(client, secret).status_code == 200


def test_leave__enrolment_token_revoked__unauthorized(client, secret: str) -> None:
    enrol(client, secret)
    token = EnrolmentToken.objects.get()
    services.revoke_enrolment_token(token, actor=ADMIN, request_id="r3")
    assert leave(client, secret).status_code == 401
    assert Agent.objects.get().left_at is None


def test_leave__unknown_agent__not_found(client, secret: str) -> None:
    assert leave(client, secret).status_code == 404


def test_leave__no_boot_id__names_the_field(client, secret: str) -> None:
    enrol(client, secret)
    answer = leave(client, secret, boot_id="")
    assert answer.status_code == 400
    assert "boot_id" in answer.content.decode()


def test_default_agent__one_of_two_has_left__the_other(client, secret: str) -> None:
    enrol(client, secret)
    post(
        client,
        "/api/v1/enrol",
        secret,
        name="second",
        url="http://10.0.0.8:6999",
        role="scheduler",
        engine="e2",
        agent_token="kv",
        boot_id="b",
    )
    leave(client, secret)
    assert services.default_agent(Component.LOOKUP_CLIENT).name == "second"


def test_observation__of_the_start_that_ended__does_not_bring_it_back(client, secret: str) -> None:
    enrol(client, secret)
    leave(client, secret)
    record_observation(Agent.objects.get(), {"boot_id": "boot-1"})
    assert Agent.objects.get().left_at is not None


def test_observation__of_a_new_start__is_back(client, secret: str) -> None:
    enrol(client, secret)
    leave(client, secret)
    record_observation(Agent.objects.get(), {"boot_id": "boot-2"})
    assert Agent.objects.get().left_at is None


@pytest.mark.parametrize(("left", "found"), [("true", ["scheduler"]), ("false", [])])
def test_agents__filtered_by_left__lists_those(admin_client, secret: str, left, found) -> None:
    enrol(admin_client, secret)
    leave(admin_client, secret)
    listed = admin_client.get(f"/api/v1/agents/?left={left}").json()["results"]
    assert [agent["name"] for agent in listed] == found
