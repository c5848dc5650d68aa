"""An agent is removed from the admin together with what the control loop noted on it."""

import pytest

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Agent
from controlplane.reconcile.models import Watch

pytestmark = pytest.mark.django_db
LIST = "/admin/fleet/agent/"


@pytest.fixture
def watched(agents, make_agent) -> list[Agent]:
    """Two agents that the control loop has seen."""
    made = [make_agent(f"worker-{number}", worker_id=number) for number in range(2)]
    for agent in made:
        Watch.objects.create(agent=agent)
    return made


def removed() -> list[str]:
    entries = AuditEntry.objects.filter(action="agent.remove").order_by("agent")
    return [entry.agent for entry in entries]


def test_delete__watched_agent__is_removed_with_its_watch(page_as, watched):
    client = page_as(UserRole.ADMIN)
    url = f"{LIST}{watched[0].pk}/delete/"

    assert 'type="submit"' in client.get(url).content.decode().split('id="content-main"')[-1]
    answer = client.post(url, {"post": "yes"})

    assert answer.status_code == 302
    assert [agent.name for agent in Agent.objects.all()] == ["worker-1"]
    assert [watch.agent.name for watch in Watch.objects.all()] == ["worker-1"]
    assert removed() == ["worker-0"]


def test_delete_selected__watched_agents__are_removed_with_their_watches(page_as, watched):
    sent = {"action": "delete_selected", "_selected_action": [a.pk for a in watched]}

    answer = page_as(UserRole.ADMIN).post(LIST, {**sent, "post": "yes"}, follow=True)

    assert answer.status_code == 200
    assert not Agent.objects.exists()
    assert not Watch.objects.exists()
    assert removed() == ["worker-0", "worker-1"]


def test_delete__operator__may_not(page_as, watched):
    url = f"{LIST}{watched[0].pk}/delete/"

    assert page_as(UserRole.OPERATOR).post(url, {"post": "yes"}).status_code == 403
    assert Agent.objects.count() == Watch.objects.count() == 2
