"""A form of the admin that is sent twice is one operation."""

import re
import threading

import pytest
from django.db import connections
from django.http import HttpResponse

from controlplane.accounts.models import UserRole
from controlplane.forwarding.transport import NotSent
from controlplane.operations.models import Operation
from tests.support.waiting import DEADLINE_SECONDS

from .test_agent_actions import do, page

pytestmark = pytest.mark.django_db(transaction=True)
KEY = re.compile(r'name="key" value="([0-9a-f]{32})"')


def key_of(client, name, made) -> str:
    return key_in(client.get(page(name), {"key": [agent.pk for agent in made]}))


def key_in(answer: HttpResponse) -> str:
    (key,) = KEY.findall(answer.content.decode())
    return key


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ["freeze", "bypass"])
def test_switch__same_form_twice__is_one_operation(page_as, fleet, name, count):
    made = [fleet(f"worker-{number}")[0] for number in range(count)]
    client = page_as(UserRole.OPERATOR)
    sent = {"key": key_of(client, name, made), "backend": "RemoteBackend", "ends": "3600"}

    answers = [do(client, name, *made, follow=True, **sent) for _ in range(2)]

    operation = Operation.objects.get()
    assert operation.idempotency_key == sent["key"]
    shown = f"/admin/operations/operation/{operation.pk}/change/"
    assert [answer.redirect_chain[-1][0] for answer in answers] == [shown, shown]


@pytest.mark.parametrize("count", [1, 2])
def test_switch__page_opened_again__is_another_operation(page_as, fleet, count):
    made = [fleet(f"worker-{number}")[0] for number in range(count)]
    client = page_as(UserRole.OPERATOR)

    for _ in range(2):
        do(client, "freeze", *made, key=key_of(client, "freeze", made))

    assert Operation.objects.count() == 2


def test_switch__same_form_with_another_reason__is_refused(page_as, fleet):
    agent, simulated = fleet("worker-0")
    client = page_as(UserRole.OPERATOR)
    key = key_of(client, "freeze", [agent])
    do(client, "freeze", agent, key=key)

    answer = do(client, "freeze", agent, key=key, reason="something else")

    assert answer.status_code == 409
    assert "sent before with another request" in answer.content.decode()
    assert simulated.asked["PUT /freeze/enable"] == 1


def test_switch__twice_at_the_same_time__the_agent_is_called_once(page_as, fleet):
    agent, simulated = fleet("worker-0")
    clients = [page_as(UserRole.OPERATOR) for _ in range(2)]
    key = key_of(clients[0], "freeze", [agent])
    called, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        called.set()
        go_on.wait(DEADLINE_SECONDS)

    simulated.before = hold
    answers: list[HttpResponse] = []
    first = threading.Thread(target=lambda: answers.append(_sent(clients[0], agent, key)))
    first.start()
    assert called.wait(DEADLINE_SECONDS)

    second = do(clients[1], "freeze", agent, key=key, follow=True)
    go_on.set()
    first.join(DEADLINE_SECONDS)

    operation = Operation.objects.get()
    shown = f"/admin/operations/operation/{operation.pk}/change/"
    assert second.redirect_chain == [(shown, 302)]
    assert "is under way" in second.content.decode()
    assert answers[0].headers["location"] == shown
    assert simulated.asked["PUT /freeze/enable"] == 1


def _sent(client, agent, key: str) -> HttpResponse:
    try:
        return do(client, "freeze", agent, key=key)
    finally:
        connections.close_all()


def test_call__same_form_twice__shows_the_operation_and_calls_nobody(page_as, fleet):
    agent, simulated = fleet("worker-0")
    client = page_as(UserRole.OPERATOR)
    path = f"/admin/fleet/agent/{agent.pk}/call/enable_freeze/"
    sent = {"reason": "maintenance", "key": key_in(client.get(path))}

    first, second = (client.post(path, sent) for _ in range(2))

    operation = Operation.objects.get()
    assert first.status_code == 200
    assert second.headers["location"] == f"/admin/operations/operation/{operation.pk}/change/"
    assert simulated.asked["PUT /freeze/enable"] == 1


def test_call__sent_from_the_page_with_the_answer__is_another_operation(page_as, fleet):
    agent, simulated = fleet("worker-0")
    client = page_as(UserRole.OPERATOR)
    path = f"/admin/fleet/agent/{agent.pk}/call/enable_freeze/"
    answer = client.get(path)

    for _ in range(2):
        answer = client.post(path, {"reason": "maintenance", "key": key_in(answer)})

    assert answer.status_code == 200
    assert Operation.objects.count() == 2
    assert simulated.asked["PUT /freeze/enable"] == 2


def test_call__form_without_its_key__is_refused(page_as, fleet):
    agent, simulated = fleet("worker-0")
    path = f"/admin/fleet/agent/{agent.pk}/call/enable_freeze/"

    answer = page_as(UserRole.OPERATOR).post(path, {"reason": "maintenance"})

    assert answer.status_code == 400
    assert "begin again from the page before" in answer.content.decode()
    assert "PUT /freeze/enable" not in simulated.asked


def test_retry__same_form_twice__is_one_retry(page_as, fleet):
    made = [fleet(f"worker-{number}") for number in range(2)]

    def refuse(method: str, path: str) -> None:
        raise NotSent("refused")

    made[1][1].before = refuse
    client = page_as(UserRole.OPERATOR)
    do(client, "freeze", *(agent for agent, _ in made))
    failed = Operation.objects.get()
    page_of_retry = "/admin/operations/operation/confirm/retry/"
    key = key_in(client.get(page_of_retry, {"key": failed.pk}))
    sent = {"keys": str(failed.pk), "reason": "again", "key": key}

    answers = [client.post(page_of_retry, sent) for _ in range(2)]

    retry = Operation.objects.get(retry_of=failed.pk)
    shown = f"/admin/operations/operation/{retry.pk}/change/"
    assert [answer.headers["location"] for answer in answers] == [shown, shown]


@pytest.mark.parametrize("key", ["", "no key"])
def test_switch__form_without_its_key__is_refused_with_what_to_do(page_as, fleet, agents, key):
    made = [fleet(f"worker-{number}")[0] for number in range(2)]

    answer = do(page_as(UserRole.OPERATOR), "freeze", *made, key=key)

    assert answer.context["form"].errors.keys() == {"key"}
    assert "begin again from the page before" in answer.content.decode()
    assert agents.requests == []
    assert not Operation.objects.exists()
