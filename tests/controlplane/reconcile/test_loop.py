"""The control loop over simulated agents."""

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.models import Operation

from .fleet_story import post_conf, put, story, talking
from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)


def silent(method, path):
    raise NotSent("Connection refused")


def test_round__first__takes_up_what_the_agent_has(loop, fleet):
    _, simulated = fleet()
    simulated.bypassed.append("RemoteBackend")

    rounds(loop)

    revision = ConfigRevision.objects.get()
    assert (revision.number, revision.state, revision.source) == (1, "active", "import")
    assert revision.values == simulated.conf
    desired = {(row.mode, row.backend): row.value for row in DesiredMode.objects.all()}
    assert desired == {
        ("freeze", ""): False,
        ("hot_cache", ""): True,
        ("bypass", "RemoteBackend"): True,
    }
    agent = Agent.objects.get()
    assert (agent.health, agent.boot_id) == ("online", simulated.boot_id)
    assert ("agent.online", "controller", "observed") in story()


def test_rounds__nothing_happens__nothing_is_written_and_only_the_status_is_asked(loop, fleet):
    _, simulated = fleet()
    rounds(loop, 2)
    simulated.asked.clear()
    before = AuditEntry.objects.count()

    rounds(loop, 3)

    assert simulated.asked == {"GET /agent/status": 3}
    assert AuditEntry.objects.count() == before
    assert not Operation.objects.exists()


def test_silence__health__is_unknown_at_once_then_offline_then_online_again(loop, fleet, settings):
    settings.KVPLANE_OFFLINE_AFTER_MISSED = 3
    _, simulated = fleet()
    rounds(loop)
    seen = []
    simulated.before = silent
    for _ in range(4):
        rounds(loop)
        seen.append(Agent.objects.get().health)
    simulated.before = talking
    rounds(loop)

    assert seen == ["unknown", "unknown", "offline", "offline"]
    assert Agent.objects.get().health == "online"
    assert [entry[0] for entry in story() if entry[0].startswith("agent.")][-4:] == [
        "agent.online",
        "agent.unknown",
        "agent.offline",
        "agent.online",
    ]


def test_expiry__time_is_up__mode_is_reverted_and_the_history_tells_it(loop, fleet, operator_api):
    _, simulated = fleet()
    rounds(loop)
    put(operator_api, "/freeze/enable", **{"X-KVPlane-Expires-In": "1200"})
    rounds(loop, 2)
    assert simulated.freeze is True

    DesiredMode.objects.update(expires_at=timezone.now())
    rounds(loop, 2)

    assert simulated.freeze is False
    desired = DesiredMode.objects.get(mode="freeze")
    assert (desired.value, desired.expires_at) == (False, None)
    last = ModeChange.objects.latest("id")
    assert (last.source, last.from_value, last.to_value) == ("expiry", True, False)
    assert (last.actor_name, last.reason) == ("controller", "its time is up")
    assert Operation.objects.filter(actor_kind="controller").count() == 1


def test_expiry__somebody_froze_for_good_meanwhile__stays_frozen(loop, fleet, operator_api):
    _, simulated = fleet()
    rounds(loop)
    put(operator_api, "/freeze/enable", **{"X-KVPlane-Expires-In": "1200"})
    put(operator_api, "/freeze/enable")

    rounds(loop, 2)

    assert simulated.freeze is True
    assert DesiredMode.objects.get(mode="freeze").expires_at is None


def test_expiry__agent_restarted_unfrozen__wish_ends_all_the_same(loop, fleet, operator_api):
    _, simulated = fleet()
    rounds(loop)
    put(operator_api, "/freeze/enable", **{"X-KVPlane-Expires-In": "1200"})
    simulated.restart()
    DesiredMode.objects.update(expires_at=timezone.now())

    rounds(loop, 3)

    assert simulated.freeze is False
    assert DesiredMode.objects.get(mode="freeze").value is False


@pytest.mark.parametrize("done", [True, False])
def test_unknown_outcome__agent_answers_again__is_resolved_truly(loop, fleet, operator_api, done):
    _, simulated = fleet()
    rounds(loop)

    def lose(method, path):
        if method in ("POST", "PUT"):
            if done and path == "/conf":
                simulated.conf["min_retrieve_tokens"] = 5
            if done and path == "/freeze/enable":
                simulated.freeze = True
            raise TimedOut("the time is up")

    simulated.before = lose
    operator_api.post("/agents/worker-0/conf", data={"min_retrieve_tokens": 5}, format="json")
    operator_api.put("/agents/worker-0/freeze/enable")
    assert set(Operation.objects.values_list("state", flat=True)) == {"unknown"}
    simulated.before = talking

    rounds(loop, 3)

    wanted = "succeeded" if done else "failed"
    assert set(Operation.objects.values_list("state", flat=True)) == {wanted}
    active = ConfigRevision.objects.get(state="active")
    assert (active.number, active.values["min_retrieve_tokens"]) == ((2, 5) if done else (1, 0))
    assert DesiredMode.objects.get(mode="freeze").value is done
    assert simulated.freeze is done
    assert ("freeze.enable", "controller", wanted) in story()


def test_left_agent__is_not_asked(loop, fleet):
    _, simulated = fleet()
    rounds(loop)
    Agent.objects.update(left_at=timezone.now())
    simulated.asked.clear()

    rounds(loop, 2)

    assert simulated.asked == {}


def test_registered_anew__agent_of_that_name_before__nothing_of_it_is_put_on_this_one(
    loop, fleet, operator_api, make_agent
):
    agent, simulated = fleet()
    rounds(loop, 2)
    post_conf(operator_api, min_retrieve_tokens=512)
    put(operator_api, "/freeze/enable")
    rounds(loop, 2)
    agent.delete()
    simulated.restart()
    make_agent("worker-0", url=agent.url)

    rounds(loop, 3)

    assert simulated.conf["min_retrieve_tokens"] == 0
    assert simulated.freeze is False
    active = ConfigRevision.objects.get(state="active")
    assert (active.number, active.source) == (3, "import")
    assert DesiredMode.objects.get(mode="freeze").value is False


def test_round__one_agent_meets_a_bug__the_others_are_cared_for(loop, fleet, monkeypatch, caplog):
    from controlplane.reconcile import attending

    fleet("worker-0")
    _, other = fleet("worker-1")
    original = attending._take_up_modes

    def broken(sighting, request_id):
        if sighting.watch.agent.name == "worker-0":
            raise KeyError("a bug")
        original(sighting, request_id)

    monkeypatch.setattr(attending, "_take_up_modes", broken)
    rounds(loop, 2)

    assert DesiredMode.objects.filter(agent="worker-1").exists()
    assert other.asked["GET /agent/status"] == 2
    assert "worker-0 could not be attended to" in caplog.text
