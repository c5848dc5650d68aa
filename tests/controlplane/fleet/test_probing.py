"""Asking an agent how it is."""

import pytest

from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent, RawAnswer
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


def test_probe__agent_answers__is_seen(operator_api, make_agent, agents):
    make_agent()
    agents.respond = lambda request: reply({"boot_id": "b1", "generation": 3})

    response = operator_api.post("/api/v1/agents/worker-0/probe")

    assert response.status_code == 200
    assert response.json()["boot_id"] == "b1"
    assert response.json()["last_status"]["generation"] == 3
    assert response.json()["last_seen_at"] is not None


@pytest.mark.parametrize("boot_id", ["\\ud800", "\\u0000", "b" * 500])
def test_probe__strange_boot_id__is_kept_as_far_as_can_be(
    operator_api, make_agent, agents, boot_id
):
    make_agent()
    body = f'{{"boot_id": "{boot_id}", "instance_id": "{boot_id}"}}'.encode()
    agents.respond = lambda request: RawAnswer(200, "application/json", body)

    assert operator_api.post("/api/v1/agents/worker-0/probe").status_code == 200
    stored = Agent.objects.get().boot_id
    assert 1 <= len(stored) <= 64
    assert "\x00" not in stored


def test_probe__agent_removed_meanwhile__is_404(operator_api, make_agent, agents):
    make_agent()

    def remove(request):
        Agent.objects.all().delete()
        return reply({"boot_id": "b1"})

    agents.respond = remove
    assert operator_api.post("/api/v1/agents/worker-0/probe").status_code == 404


def test_probe__agent_is_gone__is_502_and_not_seen(operator_api, make_agent, agents):
    make_agent()

    def refuse(request):
        raise NotSent("refused")

    agents.respond = refuse
    response = operator_api.post("/api/v1/agents/worker-0/probe")

    assert response.status_code == 502
    assert response.json()["agent"] == "worker-0"
    assert Agent.objects.get().last_seen_at is None
