"""Operations that a dead process left, while the agents that could tell are silent."""

import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.operations import services
from controlplane.operations.models import Operation
from controlplane.reconcile.models import Watch
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
DEADLINE_SECONDS = 20.0


class Killed(BaseException):
    """As by kill -9."""


@pytest.fixture
def killed(operator_api, monkeypatch):
    """Makes a call whose process ends before it writes down what came of it."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    def call(path: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(services, "_record_outcomes", die)
            with pytest.raises(Killed):
                operator_api.put(path)
        Operation.objects.update(lease_until=timezone.now())

    return call


def test_abandoned_operation__agent_hangs_when_it_is_asked__others_are_polled_and_cared_for(
    loop, fleet, killed
):
    _, hanging = fleet("worker-0")
    _, other = fleet("worker-1")
    loop.go_round()
    killed("/agents/worker-0/freeze/enable")
    go_on = threading.Event()

    def hang(method, path):
        go_on.wait(DEADLINE_SECONDS)

    hanging.before = hang
    loop._lease = timedelta(seconds=1)
    Watch.objects.filter(agent__name="worker-0").update(holder="other", held_until=_in_an_hour())
    other.asked.clear()
    started = time.monotonic()

    loop.go_round()

    assert time.monotonic() - started < DEADLINE_SECONDS / 2
    assert other.asked["GET /agent/status"] == 1
    assert Operation.objects.get().state == "running"
    go_on.set()
    hanging.before = lambda method, path: None
    eventually(lambda: Operation.objects.get().state != "running")
    assert Operation.objects.get().state == "succeeded"


def _in_an_hour():
    return timezone.now() + timedelta(hours=1)
