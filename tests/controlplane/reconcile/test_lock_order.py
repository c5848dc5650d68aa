"""Whoever locks the rows of several agents does it in one order."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from controlplane.configuration import services as configuration
from controlplane.fleet.models import Agent
from controlplane.reconcile.models import Watch
from controlplane.reconcile.polling import keep
from controlplane.reconcile.sighting import Sighting
from controlplane.statistics.models import Trigger
from controlplane.statistics.services import Asked, append, tier_sample
from tests.controlplane.statistics.tier_samples import TOLD

pytestmark = pytest.mark.django_db(transaction=True)
_ROUNDS = 25


@pytest.fixture
def agents(make_agent) -> list[Agent]:
    """Their names are in another order than their keys."""
    return [make_agent(f"worker-{99 - number}") for number in range(60)]


def lock(agents: list[Agent], moment: int) -> None:
    with transaction.atomic():
        configuration.lock([agent.name for agent in agents])


def sample(agents: list[Agent], moment: int) -> None:
    now = timezone.now() + timedelta(seconds=moment)
    append([tier_sample(agent, TOLD, Trigger.INTERVAL, Asked(now, now)) for agent in agents])


def see(agents: list[Agent], moment: int) -> None:
    now = timezone.now()
    watches = [Watch.objects.get_or_create(agent=agent)[0] for agent in agents]
    keep([Sighting(watch, now, now, {}) for watch in watches], "req-1")


@pytest.mark.parametrize("other", [sample, see])
def test_agents__locked_by_two_at_once__nobody_waits_in_a_circle(agents, other):
    together = threading.Barrier(2)

    def again_and_again(act) -> None:
        try:
            for moment in range(_ROUNDS):
                together.wait(30)
                act(agents, moment)
        except DatabaseError:
            together.abort()
            raise
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(again_and_again, act) for act in (lock, other)]

    assert [one.exception() for one in done] == [None, None]
