"""The control loop over simulated agents."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.models import Operation
from controlplane.reconcile.loop import ControlLoop
from controlplane.reconcile.models import Controller, Policy, Watch

pytestmark = pytest.mark.django_db(transaction=True)


def silent(method, path):
    raise NotSent("Connection refused")


def talking(method, path):
    return None


def story(agent="worker-0") -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.filter(agent=agent).order_by("id").exclude(stage="requested")
    return [(entry.action, entry.actor_name, entry.outcome) for entry in entries]


def put(api, path, **headers):
    answer = api.put(f"/agents/worker-0{path}", headers=headers)
    assert answer.status_code == 200, answer.content
    return answer


def post_conf(api, **values):
    answer = api.post("/agents/worker-0/conf", data=values, format="json")
    assert answer.status_code == 200, answer.content
    return answer


def wait_a_moment() -> None:
    """What was settled must be older than the next question."""
    time.sleep(0.002)


def rounds(loop, count=1) -> None:
    for _ in range(count):
        wait_a_moment()
        loop.go_round()


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


def test_restart__changed_conf_freeze_and_bypass__are_back_after_two_rounds(
    loop, fleet, operator_api
):
    _, simulated = fleet()
    rounds(loop, 2)
    post_conf(operator_api, min_retrieve_tokens=512, remote_serde="zstd")
    put(operator_api, "/bypass/add?backend_name=RemoteBackend")
    put(operator_api, "/freeze/enable")
    rounds(loop, 2)
    simulated.restart()

    rounds(loop, 2)

    assert simulated.conf["min_retrieve_tokens"] == 512
    assert simulated.conf["remote_serde"] == "zstd"
    assert simulated.freeze is True
    assert simulated.bypassed == ["RemoteBackend"]
    assert story()[-6:] == [
        ("agent.restart", "controller", "observed"),
        ("drift.found", "controller", "observed"),
        ("conf.update", "controller", "succeeded"),
        ("bypass.add", "controller", "succeeded"),
        ("freeze.enable", "controller", "succeeded"),
        ("drift.gone", "controller", "observed"),
    ]
    # Putting back is no new revision and no new wish.
    assert ConfigRevision.objects.filter(state="active").get().number == 2
    assert ModeChange.objects.filter(actor_kind="controller").exclude(source="import").count() == 0


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


def test_drift__policy_report__is_shown_and_left(loop, fleet, operator_api):
    _, simulated = fleet()
    rounds(loop, 2)
    Watch.objects.update(policy=Policy.REPORT)
    simulated.freeze = True
    simulated.conf["min_retrieve_tokens"] = 9

    rounds(loop, 3)

    watch = Watch.objects.get()
    assert watch.drift == {
        "configuration": {"min_retrieve_tokens": {"from": 9, "to": 0}},
        "modes": {"freeze": {"from": True, "to": False}},
    }
    assert watch.drift_since is not None
    assert simulated.freeze is True
    assert not Operation.objects.exists()
    assert [entry[0] for entry in story()].count("drift.found") == 1

    simulated.freeze, simulated.conf["min_retrieve_tokens"] = False, 0
    rounds(loop)
    assert Watch.objects.get().drift == {}
    assert story()[-1][0] == "drift.gone"


def test_drift__policy_adopt__becomes_desired_by_the_controller(loop, fleet):
    _, simulated = fleet()
    rounds(loop, 2)
    Watch.objects.update(policy=Policy.ADOPT)
    simulated.freeze = True
    simulated.bypassed.append("LocalDiskBackend")
    simulated.conf["min_retrieve_tokens"] = 9

    rounds(loop, 3)

    active = ConfigRevision.objects.get(state="active")
    assert (active.source, active.actor_kind, active.parent) == ("adopt", "controller", 1)
    assert active.diff == {"min_retrieve_tokens": {"from": 0, "to": 9}}
    assert DesiredMode.objects.get(mode="freeze").value is True
    assert DesiredMode.objects.get(mode="bypass").value is True
    assert ModeChange.objects.filter(source="adopt", mode="freeze").count() == 1
    assert simulated.freeze is True
    assert Watch.objects.get().drift == {}


def test_drift__policy_enforce__backend_bypassed_by_somebody_else_is_used_again(loop, fleet):
    _, simulated = fleet()
    rounds(loop, 2)
    simulated.bypassed.append("RemoteBackend")

    rounds(loop, 2)

    assert simulated.bypassed == []
    assert Operation.objects.get().action == "bypass.remove"


def test_restart__other_fixed_settings__become_a_revision_and_the_rest_is_put_back(
    loop, fleet, operator_api
):
    _, simulated = fleet()
    rounds(loop)
    post_conf(operator_api, min_retrieve_tokens=512)
    rounds(loop)
    simulated.restart(chunk_size=64)

    rounds(loop, 3)

    active = ConfigRevision.objects.get(state="active")
    assert (active.source, active.values["chunk_size"]) == ("restart", 64)
    assert active.diff == {"chunk_size": {"from": 256, "to": 64}}
    assert active.values["min_retrieve_tokens"] == 512
    assert simulated.conf["min_retrieve_tokens"] == 512


def test_restart__scheduler_with_a_key_of_the_lookup__lookup_is_made_anew(
    loop, fleet, operator_api
):
    from engine.contract import Role

    _, simulated = fleet(role=Role.SCHEDULER)
    rounds(loop)
    post_conf(operator_api, hit_miss_ratio=0.5)
    rounds(loop)
    simulated.restart()

    rounds(loop, 2)

    assert simulated.conf["hit_miss_ratio"] == 0.5
    assert simulated.asked["POST /lookup/recreate"] == 1


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


def test_repair__does_not_last__backs_off_and_gives_up_loudly(
    loop, fleet, settings, caplog, operator_api
):
    settings.KVPLANE_REPAIR_ATTEMPTS = 3
    _, simulated = fleet()
    rounds(loop, 2)
    put(operator_api, "/freeze/enable")
    rounds(loop)

    def undo(method, path):
        simulated.freeze = False

    simulated.before = undo
    for _ in range(8):
        rounds(loop)
        Watch.objects.filter(gave_up_at=None).update(next_attempt_at=None)

    repairs = Operation.objects.filter(actor_kind="controller", action="freeze.enable")
    assert repairs.count() == 3
    watch = Watch.objects.get()
    assert watch.gave_up_at is not None
    assert watch.drift == {"modes": {"freeze": {"from": False, "to": True}}}
    assert story().count(("drift.give_up", "controller", "failed")) == 1
    assert "3 repairs did not help" in caplog.text

    simulated.before = talking
    simulated.restart()
    rounds(loop, 2)
    assert simulated.freeze is True


def test_repair__before_its_next_attempt__waits(loop, fleet, operator_api):
    _, simulated = fleet()
    rounds(loop, 2)
    simulated.freeze = True
    rounds(loop)
    Watch.objects.update(next_attempt_at=timezone.now() + timedelta(hours=1))
    simulated.freeze = True

    rounds(loop, 3)

    assert Operation.objects.count() == 1


def test_repair__operator_changes_the_wish_meanwhile__wish_of_the_operator_stays(
    loop, fleet, operator_api
):
    _, simulated = fleet()
    rounds(loop, 2)
    post_conf(operator_api, min_retrieve_tokens=1)
    rounds(loop)
    simulated.restart()
    asked = []

    def interfere(method, path):
        # After the loop has compared, and before it puts back.
        if (method, path) == ("GET", "/conf/schema") and not asked:
            asked.append(path)
            post_conf(operator_api, min_retrieve_tokens=2)

    simulated.before = interfere
    rounds(loop)
    simulated.before = talking
    rounds(loop, 2)

    assert simulated.conf["min_retrieve_tokens"] == 2
    assert ConfigRevision.objects.get(state="active").values["min_retrieve_tokens"] == 2


def test_left_agent__is_not_asked(loop, fleet):
    _, simulated = fleet()
    rounds(loop)
    Agent.objects.update(left_at=timezone.now())
    simulated.asked.clear()

    rounds(loop, 2)

    assert simulated.asked == {}


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


def test_repair__somebody_undoes_each_one__backs_off_and_gives_up(
    loop, fleet, settings, operator_api
):
    # A repair lasts if it is right after the pause: longer than a round takes.
    settings.KVPLANE_POLL_SECONDS = 0.3
    settings.KVPLANE_REPAIR_ATTEMPTS = 3
    _, simulated = fleet()
    rounds(loop, 2)
    deadline = time.monotonic() + 30
    while Watch.objects.get().gave_up_at is None:
        assert time.monotonic() < deadline
        # It is right when the loop looks, and wrong soon after.
        rounds(loop)
        simulated.freeze = True
        rounds(loop)

    assert Operation.objects.filter(action="freeze.disable").count() == 3
    assert story()[-1][0] == "drift.give_up"
