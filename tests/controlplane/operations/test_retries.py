"""Calling again: requests that come twice, and retries of what failed."""

import threading

import pytest
from django.utils import timezone

from controlplane.forwarding.transport import TimedOut
from controlplane.operations.models import Operation
from tests.support.waiting import eventually

from .asking import URL, done, five, refuse, start, states

pytestmark = pytest.mark.django_db(transaction=True)


def test_idempotency_key__same_request__is_the_same_operation(operator_api, fleet):
    simulated = five(fleet)
    first = done(operator_api, key="k-1")
    simulated[0].freeze = False

    again = done(operator_api, key="k-1")

    assert again["id"] == first["id"]
    assert simulated[0].freeze is False
    assert Operation.objects.count() == 1


def test_idempotency_key__other_request__409_and_nothing_is_done(operator_api, fleet):
    five(fleet)
    done(operator_api, key="k-1")

    answer = start(operator_api, key="k-1", action="freeze.disable")

    assert (answer.status_code, answer.json()["error"]) == (409, "Idempotency key reused")
    assert Operation.objects.count() == 1


def test_idempotency_key__same_key_at_the_same_time__one_operation(operator_api, fleet):
    five(fleet)
    barrier = threading.Barrier(4)
    identifiers = []

    def send():
        from django.db import connections

        barrier.wait()
        try:
            identifiers.append(start(operator_api, key="race").json()["id"])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(identifiers) == 4
    assert len(set(identifiers)) == 1


def test_retry__some_failed__only_they_are_called_again(operator_api, fleet):
    simulated = five(fleet)
    simulated[1].before = refuse

    def lose(method, path):
        raise TimedOut("the time is up")

    simulated[4].before = lose
    first = done(operator_api)
    assert (states(first)["worker-1"], states(first)["worker-4"]) == ("failed", "unknown")
    for agent in simulated:
        agent.asked.clear()
        agent.before = lambda method, path: None

    retry = operator_api.post(f"{URL}{first['id']}/retry?wait=10").json()

    assert retry["retry_of"] == first["id"]
    assert states(retry) == {"worker-1": "succeeded", "worker-4": "succeeded"}
    assert [bool(agent.asked) for agent in simulated] == [False, True, False, False, True]


def test_retry__all_succeeded__409(operator_api, fleet):
    five(fleet)
    operation = done(operator_api)

    answer = operator_api.post(f"{URL}{operation['id']}/retry")

    assert (answer.status_code, answer.json()["error"]) == (409, "Nothing to retry")


def test_retry__secrets_in_the_body__are_sent_again_and_not_shown(operator_api, fleet, agents):
    import json

    from tests.controlplane.wire import reply

    fleet()
    sent = []

    def respond(request):
        if request.method == "POST":
            sent.append(json.loads(request.body))
            return reply({"error": "e", "message": "m"}, 400)
        return reply({"remote_url": None})

    agents.respond = respond
    body = {"remote_url": "redis://u:hush@h:1"}
    first = done(operator_api, action="conf.update", body=body)
    answer = operator_api.post(f"{URL}{first['id']}/retry?wait=10")

    assert sent == [body, body]
    assert "hush" not in str(first) + answer.content.decode()


def test_retry__its_time_is_over__400_and_nothing_is_recorded(operator_api, fleet):
    simulated = five(fleet)
    simulated[0].before = refuse
    first = done(operator_api, expires_in_s=1)
    eventually(lambda: timezone.now().isoformat() > first["options"]["expires_at"])

    answer = operator_api.post(f"{URL}{first['id']}/retry?wait=10")

    assert answer.status_code == 400
    assert "expires_at" in answer.json()["message"]
    assert Operation.objects.count() == 1
