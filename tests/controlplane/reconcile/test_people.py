"""What people tell the control loop while it is at work on the same agent."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connections

from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import NotSent
from controlplane.operations.models import Operation
from controlplane.reconcile import services
from controlplane.reconcile.models import Policy, Watch
from tests.support.waiting import eventually

from ..conftest import ACTOR
from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)
WATCH = "/api/v1/watches/worker-0"
DEADLINE_SECONDS = 20.0


def during_the_next_put(simulated, action):
    """Do it while the loop waits for the agent's answer, once."""
    left = [action]

    def before(method, path):
        if method == "PUT":
            if left:
                left.pop()()
            raise NotSent("Connection refused")

    simulated.before = before


def test_retry__while_the_loop_repairs__is_not_lost(loop, fleet, operator_api, settings):
    settings.KVPLANE_POLL_SECONDS = 1000.0
    _, simulated = fleet()
    rounds(loop, 2)
    Watch.objects.update(attempts=2)
    simulated.freeze = True
    during_the_next_put(simulated, lambda: operator_api.post(f"{WATCH}/retry"))

    rounds(loop)

    watch = Watch.objects.get()
    assert (watch.attempts, watch.next_attempt_at, watch.gave_up_at) == (0, None, None)
    simulated.before = lambda method, path: None
    rounds(loop)
    assert simulated.freeze is False


def test_retry__while_the_loop_gives_up__it_does_not(loop, fleet, operator_api, settings):
    settings.KVPLANE_REPAIR_ATTEMPTS = 1
    _, simulated = fleet()
    rounds(loop, 2)
    simulated.freeze = True
    during_the_next_put(simulated, lambda: None)
    rounds(loop)
    Watch.objects.update(next_attempt_at=None)
    asked = []

    def retry_when_asked(method, path):
        # After the loop has read its notes, and before it writes them.
        if path == "/conf" and not asked:
            asked.append(path)
            operator_api.post(f"{WATCH}/retry")

    simulated.before = retry_when_asked
    rounds(loop)

    assert Watch.objects.get().gave_up_at is None
    assert not AuditEntry.objects.filter(action="drift.give_up").exists()


def test_policy__changed_while_the_loop_looks__holds_already(loop, fleet, operator_api):
    _, simulated = fleet()
    rounds(loop, 2)
    simulated.freeze = True
    simulated.conf["min_retrieve_tokens"] = 5

    def choose(method, path):
        if path == "/conf" and method == "GET":
            operator_api.patch(WATCH, data={"policy": "report"}, format="json")

    simulated.before = choose
    rounds(loop, 2)

    assert simulated.freeze is True
    assert not Operation.objects.exists()
    assert Watch.objects.get().policy == Policy.REPORT


def test_policy__two_people_at_once__the_later_one_holds_and_the_record_is_true(fleet, loop):
    fleet()
    rounds(loop)
    first, second = Watch.objects.get(), Watch.objects.get()

    services.set_policy(first, Policy.REPORT, actor=ACTOR, request_id="1")
    services.set_policy(second, None, actor=ACTOR, request_id="2")

    assert Watch.objects.get().policy == ""
    entry = AuditEntry.objects.get(request_id="2")
    assert (entry.before, entry.after) == ({"policy": "report"}, {"policy": ""})


def test_retry__agent_removed_meanwhile__is_404(fleet, loop, operator_api, monkeypatch):
    agent, _ = fleet()
    rounds(loop)
    again = services.try_again

    def remove_first(watch, **options):
        agent.delete()
        return again(watch, **options)

    monkeypatch.setattr(services, "try_again", remove_first)

    assert operator_api.post(f"{WATCH}/retry").status_code == 404


def test_agent_removed_while_the_loop_cares__is_no_error(loop, fleet, caplog):
    agent, simulated = fleet()
    rounds(loop, 2)
    simulated.freeze = True
    during_the_next_put(simulated, agent.delete)

    rounds(loop)

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_agent_that_hangs__the_round_goes_on_and_others_are_cared_for(loop, fleet, settings):
    settings.KVPLANE_CONTROLLER_LEASE_SECONDS = 1
    loop._lease = timedelta(seconds=1)
    _, hanging = fleet("worker-0")
    _, other = fleet("worker-1")
    rounds(loop, 2)
    hanging.freeze = other.freeze = True
    go_on = threading.Event()

    def hang(method, path):
        if method == "PUT":
            go_on.wait(DEADLINE_SECONDS)

    hanging.before = hang
    started = time.monotonic()
    rounds(loop, 2)
    took = time.monotonic() - started
    other.freeze = True
    Watch.objects.update(next_attempt_at=None)
    rounds(loop)

    assert took < DEADLINE_SECONDS / 2
    assert other.freeze is False
    # Nobody else attends to it, nor does the loop a second time, while it hangs.
    assert hanging.asked["PUT /freeze/disable"] == 1
    go_on.set()
    eventually(lambda: not hanging.freeze)
    connections.close_all()
