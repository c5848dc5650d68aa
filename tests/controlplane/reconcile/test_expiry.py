"""Modes whose time is up, on agents that do not want to go back."""

from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import NotSent
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.models import Operation
from controlplane.reconcile.models import Policy, Watch

from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)


def let_time_pass(mode="freeze") -> None:
    DesiredMode.objects.filter(mode=mode).update(expires_at=timezone.now())


def frozen_for_a_while(api, loop) -> None:
    rounds(loop)
    answer = api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Expires-In": "1200"})
    assert answer.status_code == 200
    rounds(loop, 2)
    let_time_pass()


def stay_frozen(method, path):
    if path == "/freeze/disable":
        raise NotSent("Connection refused")


def talking(method, path):
    return None


def reversals() -> int:
    return Operation.objects.filter(action="freeze.disable").count()


def test_expiry__agent_refuses__next_attempt_waits_longer_each_time(
    loop, fleet, operator_api, settings
):
    _, simulated = fleet()
    frozen_for_a_while(operator_api, loop)
    simulated.before = stay_frozen
    settings.KVPLANE_POLL_SECONDS = 1000.0

    rounds(loop, 4)

    assert reversals() == 1
    desired = DesiredMode.objects.get(mode="freeze")
    assert desired.revert_attempts == 1
    assert desired.next_revert_at > timezone.now() + timedelta(seconds=60)
    assert "refused" in desired.revert_error


def test_expiry__agent_refuses_for_good__gives_up_loudly_and_once(
    loop, fleet, operator_api, settings, caplog
):
    settings.KVPLANE_REPAIR_ATTEMPTS = 3
    _, simulated = fleet()
    frozen_for_a_while(operator_api, loop)
    simulated.before = stay_frozen

    for _ in range(8):
        DesiredMode.objects.update(next_revert_at=None)
        rounds(loop)

    assert reversals() == 3
    assert DesiredMode.objects.get(mode="freeze").revert_gave_up_at is not None
    (entry,) = AuditEntry.objects.filter(action="mode.give_up")
    assert (entry.agent, entry.actor_name, entry.outcome) == ("worker-0", "controller", "failed")
    assert entry.request == {"modes": {"freeze": {"from": True, "to": False}}, "attempts": 3}
    assert "3 attempts" in caplog.text


def test_expiry__agent_refuses__drift_of_the_rest_is_put_right(loop, fleet, operator_api, settings):
    _, simulated = fleet()
    frozen_for_a_while(operator_api, loop)
    simulated.before = stay_frozen
    simulated.conf["min_retrieve_tokens"] = 9
    simulated.hot_cache = False

    rounds(loop, 2)

    assert simulated.conf["min_retrieve_tokens"] == 0
    assert simulated.hot_cache is True
    assert simulated.freeze is True


@pytest.mark.parametrize("how", ["restart", "retry"])
def test_expiry__given_up__begins_anew(loop, fleet, operator_api, settings, how):
    settings.KVPLANE_REPAIR_ATTEMPTS = 1
    _, simulated = fleet()
    frozen_for_a_while(operator_api, loop)
    simulated.before = stay_frozen
    for _ in range(3):
        DesiredMode.objects.update(next_revert_at=None)
        rounds(loop)
    assert DesiredMode.objects.get(mode="freeze").revert_gave_up_at is not None
    simulated.before = talking

    if how == "restart":
        simulated.restart()
    else:
        operator_api.post("/api/v1/watches/worker-0/retry")
    rounds(loop, 2)

    assert simulated.freeze is False
    desired = DesiredMode.objects.get(mode="freeze")
    assert (desired.value, desired.expires_at, desired.revert_gave_up_at) == (False, None, None)


def test_expiry__agent_went_back_by_itself_while_the_loop_waits__is_not_frozen_again(
    loop, fleet, operator_api, settings
):
    _, simulated = fleet()
    frozen_for_a_while(operator_api, loop)
    simulated.before = stay_frozen
    settings.KVPLANE_POLL_SECONDS = 1000.0
    rounds(loop)
    simulated.freeze = False

    rounds(loop, 3)

    assert simulated.freeze is False
    assert Operation.objects.filter(action="freeze.enable", actor_kind="controller").count() == 0


def test_expiry__new_wish_for_a_while__has_its_own_attempts(loop, fleet, operator_api, settings):
    settings.KVPLANE_REPAIR_ATTEMPTS = 1
    _, simulated = fleet()
    frozen_for_a_while(operator_api, loop)
    simulated.before = stay_frozen
    for _ in range(3):
        DesiredMode.objects.update(next_revert_at=None)
        rounds(loop)
    simulated.before = talking
    operator_api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Expires-In": "60"})
    let_time_pass()

    rounds(loop, 2)

    assert simulated.freeze is False


def test_expiry__registered_anew_under_that_name__nothing_is_reverted(
    loop, fleet, operator_api, make_agent
):
    agent, simulated = fleet()
    rounds(loop)
    operator_api.put("/agents/worker-0/hot_cache/disable", headers={"X-KVPlane-Expires-In": "600"})
    let_time_pass("hot_cache")
    agent.delete()
    simulated.restart()
    simulated.hot_cache = False
    make_agent("worker-0", url=agent.url)

    rounds(loop, 3)

    assert not Operation.objects.filter(actor_kind="controller").exists()
    assert simulated.hot_cache is False
    assert DesiredMode.objects.get(mode="hot_cache").value is False


def test_end_of_a_wish__after_registered_anew__does_not_lead_to_what_the_other_had(
    loop, fleet, operator_api, make_agent
):
    agent, simulated = fleet()
    rounds(loop)
    operator_api.put("/agents/worker-0/freeze/enable")
    agent.delete()
    simulated.restart()
    make_agent("worker-0", url=agent.url)
    operator_api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Expires-In": "600"})

    change = ModeChange.objects.latest("id")
    assert (change.from_value, change.revert_to) == (None, False)


@pytest.mark.parametrize("attempts", [60, 5000])
def test_repair__after_many_attempts__still_waits_a_bounded_time(
    loop, fleet, settings, operator_api, attempts
):
    settings.KVPLANE_REPAIR_ATTEMPTS = 10_000
    settings.KVPLANE_POLL_SECONDS = 5.0
    _, simulated = fleet()
    rounds(loop, 2)
    Watch.objects.update(attempts=attempts, policy=Policy.ENFORCE)
    simulated.freeze = True

    rounds(loop)

    watch = Watch.objects.get()
    assert watch.attempts == attempts + 1
    assert watch.next_attempt_at < timezone.now() + timedelta(minutes=6)
