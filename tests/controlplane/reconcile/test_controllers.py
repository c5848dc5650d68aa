"""Several controllers: who cares for whom, and what a dead one leaves."""

import pytest
from django.utils import timezone

from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation
from controlplane.reconcile.loop import ControlLoop
from controlplane.reconcile.models import Controller, Watch

from .fleet_story import story
from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)


def test_controllers__two__share_the_fleet_and_each_agent_is_asked_once(loop, fleet):
    simulated = [fleet(f"worker-{number}")[1] for number in range(10)]
    other = ControlLoop("test:2:b")
    try:
        rounds(loop)
        rounds(other)
        rounds(loop)
        rounds(other)
        for agent in simulated:
            agent.asked.clear()
        rounds(loop)
        rounds(other)

        assert [agent.asked["GET /agent/status"] for agent in simulated] == [1] * 10
        assert sorted(Controller.objects.values_list("agents", flat=True)) == [5, 5]
    finally:
        other.close()


def test_controllers__one_is_killed__the_other_has_all_agents_within_a_lease(loop, fleet):
    simulated = [fleet(f"worker-{number}")[1] for number in range(4)]
    killed = ControlLoop("test:2:b")
    rounds(killed)
    rounds(loop)
    assert Watch.objects.filter(holder="test:2:b").count() == 4
    # Its lease runs out, as it would while nobody renews it.
    Controller.objects.filter(name="test:2:b").update(alive_until=timezone.now())
    Watch.objects.filter(holder="test:2:b").update(held_until=timezone.now())

    for agent in simulated:
        agent.asked.clear()
    rounds(loop)

    assert all(agent.asked["GET /agent/status"] == 1 for agent in simulated)
    killed._pollers.shutdown()
    killed._carers.shutdown()


def test_controller__closed__lets_go_at_once(loop, fleet):
    fleet()
    other = ControlLoop("test:2:b")
    rounds(other)
    other.close()

    rounds(loop)

    assert Watch.objects.get().holder == loop.name


def test_abandoned_operation__of_a_dead_process__gets_a_true_outcome(
    loop, fleet, operator_api, monkeypatch
):
    from controlplane.operations import services

    _, simulated = fleet()
    rounds(loop)

    class Killed(BaseException):
        pass

    def die(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(services, "_record_outcomes", die)
        with pytest.raises(Killed):
            operator_api.put("/agents/worker-0/freeze/enable")
    assert Operation.objects.get().state == "running"
    Operation.objects.update(lease_until=timezone.now())

    rounds(loop, 2)

    operation = Operation.objects.get()
    assert (operation.state, operation.targets.get().state) == ("succeeded", "succeeded")
    assert DesiredMode.objects.get(mode="freeze").value is True
    assert ("freeze.enable", "controller", "succeeded") in story()
    assert simulated.freeze is True
