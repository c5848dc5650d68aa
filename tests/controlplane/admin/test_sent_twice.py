"""A form of the admin that is sent twice is one operation."""

import re

import pytest

from controlplane.accounts.models import UserRole
from controlplane.operations.models import Operation

from .test_agent_actions import do, page

pytestmark = pytest.mark.django_db(transaction=True)
KEY = re.compile(r'name="key" value="([0-9a-f]{32})"')


def key_of(client, name, made) -> str:
    text = client.get(page(name), {"key": [agent.pk for agent in made]}).content.decode()
    (key,) = KEY.findall(text)
    return key


@pytest.mark.parametrize("name", ["freeze", "bypass"])
def test_switch__same_form_twice__is_one_operation(page_as, fleet, name):
    made = [fleet(f"worker-{number}")[0] for number in range(2)]
    client = page_as(UserRole.OPERATOR)
    sent = {"key": key_of(client, name, made), "backend": "RemoteBackend", "ends": "3600"}

    answers = [do(client, name, *made, follow=True, **sent) for _ in range(2)]

    operation = Operation.objects.get()
    assert operation.idempotency_key == sent["key"]
    shown = f"/admin/operations/operation/{operation.pk}/change/"
    assert [answer.redirect_chain[-1][0] for answer in answers] == [shown, shown]


def test_switch__page_opened_again__is_another_operation(page_as, fleet):
    made = [fleet(f"worker-{number}")[0] for number in range(2)]
    client = page_as(UserRole.OPERATOR)

    for _ in range(2):
        do(client, "freeze", *made, key=key_of(client, "freeze", made))

    assert Operation.objects.count() == 2


@pytest.mark.parametrize("key", ["", "no key"])
def test_switch__form_without_its_key__is_refused_with_what_to_do(page_as, fleet, agents, key):
    made = [fleet(f"worker-{number}")[0] for number in range(2)]

    answer = do(page_as(UserRole.OPERATOR), "freeze", *made, key=key)

    assert answer.context["form"].errors.keys() == {"key"}
    assert "begin again from the page before" in answer.content.decode()
    assert agents.requests == []
    assert not Operation.objects.exists()
