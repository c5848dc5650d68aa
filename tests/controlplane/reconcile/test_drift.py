"""Agents that are not as they should be: what is put right, and when the loop gives up."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.configuration.models import ConfigRevision
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.models import Operation
from controlplane.reconcile.models import Policy, Watch

from .fleet_story import post_conf, put, story, talking
from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)


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
