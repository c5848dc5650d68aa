"""Outcomes that stay unknown, and what the loop makes of them."""

import pytest
from django.utils import timezone

from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import TimedOut
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations import services
from controlplane.operations.models import Operation, OperationTarget

from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)


def talking(method, path):
    return None


def never_arrives(method, path):
    if method in ("POST", "PUT"):
        raise TimedOut("lost")


def test_unknown_outcome__of_an_agent_that_had_this_name__is_not_asked_of_this_one(
    loop, fleet, operator_api, make_agent
):
    agent, simulated = fleet()
    rounds(loop, 2)
    simulated.before = never_arrives
    operator_api.post("/agents/worker-0/conf", data={"min_retrieve_tokens": 9}, format="json")
    operator_api.put("/agents/worker-0/freeze/enable")
    agent.delete()
    simulated.restart(min_retrieve_tokens=9)
    simulated.freeze = True
    simulated.before = talking
    make_agent("worker-0", url=agent.url)

    rounds(loop, 3)

    assert set(OperationTarget.objects.values_list("state", flat=True)) == {"unknown"}
    states = dict(ConfigRevision.objects.values_list("number", "state"))
    assert (states[2], states[3]) == ("failed", "active")
    assert ConfigRevision.objects.get(number=3).source == "import"
    lost = ModeChange.objects.exclude(operation_id=None).get()
    assert lost.state == "failed"
    assert DesiredMode.objects.get(mode="freeze").change.source == "import"


def test_unfinished_operation__of_an_agent_that_had_this_name__is_not_asked_of_this_one(
    loop, fleet, operator_api, make_agent, monkeypatch
):
    agent, simulated = fleet()
    rounds(loop)

    class Killed(BaseException):
        pass

    def die(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(services, "_record_outcomes", die)
        with pytest.raises(Killed):
            operator_api.put("/agents/worker-0/freeze/enable")
    agent.delete()
    simulated.restart()
    simulated.freeze = True
    make_agent("worker-0", url=agent.url)
    Operation.objects.update(lease_until=timezone.now())

    rounds(loop, 2)

    assert Operation.objects.get().state == "unknown"


def lose_a_secret(operator_api, simulated) -> None:
    simulated.before = never_arrives
    changes = {"remote_url": "redis://u:new@host"}
    operator_api.post("/agents/worker-0/conf", data=changes, format="json")
    simulated.before = talking


def test_lost_change__that_nobody_can_tell__does_not_stop_repairs(loop, fleet, operator_api):
    _, simulated = fleet()
    simulated.conf["remote_url"] = "redis://***@host"
    simulated.schema["remote_url"] = dict(simulated.schema["remote_serde"], choices=None)
    rounds(loop, 2)
    lose_a_secret(operator_api, simulated)
    rounds(loop, 2)
    simulated.conf["min_retrieve_tokens"] = 9

    rounds(loop, 3)

    assert simulated.conf["min_retrieve_tokens"] == 0
    assert OperationTarget.objects.filter(state="unknown").count() == 1


def test_lost_change__that_nobody_can_tell__is_not_asked_about_in_every_round(
    loop, fleet, operator_api
):
    _, simulated = fleet()
    simulated.conf["remote_url"] = "redis://***@host"
    simulated.schema["remote_url"] = dict(simulated.schema["remote_serde"], choices=None)
    rounds(loop, 2)
    lose_a_secret(operator_api, simulated)
    rounds(loop, 3)
    simulated.asked.clear()

    rounds(loop, 3)

    assert simulated.asked == {"GET /agent/status": 3}


def test_lost_change__whose_secrets_cannot_be_read_any_more__does_not_stop_the_care(
    loop, fleet, operator_api, settings
):
    _, simulated = fleet()
    simulated.conf["remote_url"] = "redis://***@host"
    simulated.schema["remote_url"] = dict(simulated.schema["remote_serde"], choices=None)
    rounds(loop, 2)
    lose_a_secret(operator_api, simulated)
    settings.SECRET_KEY = "another key, as after a loss of the first"
    settings.SECRET_KEY_FALLBACKS = []
    simulated.freeze = True
    Agent.objects.update(encrypted_token="")

    rounds(loop, 4)

    assert simulated.freeze is False
