"""People, operations over the fleet and two controllers, all at the same time."""

import threading
import time

import pytest
from django.db import connections

from controlplane.configuration.models import ConfigRevision
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation
from controlplane.reconcile.loop import ControlLoop

from .going_round import rounds

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SECONDS = 4.0
HONEST = {200, 202, 400, 409}


def test_all_at_once__nothing_fails_and_the_agents_end_as_desired(
    loop, fleet, operator_api, caplog, settings
):
    settings.KVPLANE_REPAIR_ATTEMPTS = 1000
    simulated = {name: fleet(name)[1] for name in ("w-0", "w-1", "w-2", "w-3")}
    loop.go_round()
    other = ControlLoop("test:2:b")
    statuses: list[int] = []
    failures: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def again_and_again(action) -> threading.Thread:
        def work():
            number = 0
            try:
                while time.monotonic() < end:
                    number += 1
                    action(number)
            except BaseException as error:  # noqa: BLE001 - reported below
                failures.append(error)
            finally:
                connections.close_all()

        return threading.Thread(target=work)

    def freeze(number):
        verb = ("enable", "disable")[number % 2]
        statuses.append(operator_api.put(f"/agents/w-{number % 4}/freeze/{verb}").status_code)

    def configure(number):
        answer = operator_api.post(
            f"/agents/w-{number % 3}/conf", data={"min_retrieve_tokens": number}, format="json"
        )
        statuses.append(answer.status_code)

    def operate(number):
        body = {"action": "freeze.enable", "selector": {"everybody": True}}
        if number % 2:
            body = {
                "action": "conf.update",
                "body": {"save_decode_cache": bool(number % 4)},
                "selector": {"everybody": True},
            }
        answer = operator_api.post("/api/v1/operations/?wait=20", data=body, format="json")
        statuses.append(answer.status_code)

    def meddle(number):
        agent = simulated[f"w-{number % 4}"]
        agent.freeze = not agent.freeze
        if number % 5 == 0:
            agent.restart()
        # How often somebody meddles, not what is waited for.
        time.sleep(0.05)

    def care(number):
        loop.go_round()

    def care_too(number):
        other.go_round()

    threads = [
        again_and_again(action)
        for action in (freeze, freeze, configure, operate, operate, meddle, care, care_too)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(6):
        rounds(loop)
        other.go_round()
        # Waiting for the next repair is not what is tried here.
        loop_watches_try_again()
    other.close()

    assert not failures
    assert len(statuses) > 20
    assert set(statuses) <= HONEST, sorted(set(statuses))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert not Operation.objects.filter(state__in=["pending", "running"]).exists()
    for name, agent in simulated.items():
        assert agent.freeze == DesiredMode.objects.get(agent=name, mode="freeze").value
        active = ConfigRevision.objects.get(agent=name, state="active")
        assert agent.conf == active.values
        numbers = ConfigRevision.objects.filter(agent=name).order_by("number")
        assert list(numbers.values_list("number", flat=True)) == list(range(1, numbers.count() + 1))


def loop_watches_try_again() -> None:
    from controlplane.reconcile.models import Watch

    Watch.objects.update(next_attempt_at=None, attempts=0, gave_up_at=None)
