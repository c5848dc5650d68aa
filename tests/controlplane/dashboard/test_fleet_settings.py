"""One key of the configuration of several agents, changed from the fleet page."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.operations.models import Operation, State
from controlplane.operations.services import perform
from engine.contract import endpoint
from tests.support.simulated_agent import SimulatedAgent

from ..conftest import ACTOR

# The runner's threads have connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/dashboard/fleet/settings/"
NAMES = ["worker-0", "worker-1", "worker-2"]
KEY = "min_retrieve_tokens"


def text_of(answer) -> str:
    page = answer.content.decode().replace("<wbr>", "")
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def change(agent: Agent, body: bytes) -> None:
    perform(
        endpoint("update_conf"),
        [agent],
        query="",
        body=body,
        actor=ACTOR,
        reason="",
        request_id="req-1",
        timeout=5,
    )


@pytest.fixture
def three(fleet) -> list[SimulatedAgent]:
    """Agents whose configuration and schema were read; the last has 64 already."""
    found = []
    for name in NAMES:
        agent, simulated = fleet(name)
        change(agent, b'{"min_retrieve_tokens": %d}' % (64 if name == "worker-2" else 1))
        configuration.remember_schema(name, simulated.schema)
        found.append(simulated)
    return found


def look(browser, agents: list[str] = NAMES, **query: str):
    return browser.get(PAGE, {"agent": agents, **query})


def fields_of(page) -> dict[str, str]:
    """The hidden inputs of the last form, as a browser would send them."""
    form = page.content.decode().rpartition("<form")[2]
    return dict(
        re.findall(r'<input type="hidden" name="(\w+)" (?:id="\w+" )?value="([^"]*)"', form)
    )


def confirm(browser, page, **fields: str):
    return browser.post(PAGE, {"reason": "shorter prompts", **fields_of(page), **fields})


def test_select__change_configuration__leads_to_its_page(operator, three) -> None:
    form = {"action": "conf.update", "agent": NAMES, "filters": "engine=engine-a"}
    answer = operator.post("/dashboard/fleet/select/", form)
    assert answer["Location"].startswith(f"{PAGE}?selection=")
    page = operator.get(answer["Location"])
    assert "Change configuration: 3 agents" in text_of(page)
    assert 'href="/dashboard/?engine=engine-a&amp;selection=' in page.content.decode()
    assert "Change configuration…" in text_of(operator.get("/dashboard/"))


def test_page__asked__offers_keys_that_can_be_changed_and_no_secret(operator, three) -> None:
    page = look(operator).content.decode()
    assert re.findall(r"<option[^>]*>(\w+)</option>", page) == [
        "hit_miss_ratio",
        "min_retrieve_tokens",
        "remote_serde",
        "save_decode_cache",
    ]
    assert "reason" not in re.findall(r'name="(\w+)"', page)


def test_page__key_was_chosen__asks_for_its_value_as_the_schema_has_it(operator, three) -> None:
    page = look(operator, setting=KEY)
    assert 'name="value" id="id_min_retrieve_tokens" value="1"' in page.content.decode()
    assert "At least 0. At most 1,048,576." in text_of(page)
    choices = look(operator, setting="remote_serde").content.decode()
    assert re.findall(r"<option[^>]*>(naive|zstd)</option>", choices) == ["naive", "zstd"]


def test_page__value_was_given__shows_each_agent_now_and_then(operator, three) -> None:
    text = text_of(look(operator, setting=KEY, value="64"))
    assert "worker-0 1 64 worker-1 1 64 worker-2 64 as it is" in text
    assert "Change min_retrieve_tokens: 2 agents" in text
    assert Operation.objects.count() == 3


def test_page__confirmed__changes_those_that_differ_by_one_operation(
    operator, three, runner
) -> None:
    answer = confirm(operator, look(operator, setting=KEY, value="64"))
    operation = runner.wait_for(answer["Location"].split("/")[-2], 10)
    assert (operation.state, operation.body) == (State.SUCCEEDED, {KEY: 64})
    called = operation.targets.values_list("agent", flat=True)
    assert (sorted(called), operation.reason) == (["worker-0", "worker-1"], "shorter prompts")
    assert [simulated.conf[KEY] for simulated in three] == [64, 64, 64]
    active = ConfigRevision.objects.filter(state="active").order_by("agent")
    assert [(one.agent, one.number) for one in active] == [*zip(NAMES, (3, 3, 2), strict=True)]


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        (KEY, "-1", "it must be at least 0"),
        (KEY, "many", "is no whole number"),
        ("remote_serde", "rot13", "it must be one of naive, zstd"),
    ],
)
def test_page__value_does_not_fit__says_why_and_offers_nothing(
    operator, three, setting, value, why
) -> None:
    page = look(operator, setting=setting, value=value)
    assert f"{setting}: " in text_of(page)
    assert why in text_of(page)
    assert 'name="reason"' not in page.content.decode()
    sent = {"agents": " ".join(NAMES), "setting": setting, "value": value, "reason": "x"}
    answer = operator.post(PAGE, {**sent, "key": "0" * 32, "seen": ""})
    assert answer.status_code == 400
    assert Operation.objects.count() == 3


def test_page__all_have_it__says_so(operator, three) -> None:
    page = look(operator, ["worker-2"], setting=KEY, value="64")
    assert "All of them have that value already." in text_of(page)
    sent = {"agents": "worker-2", "setting": KEY, "value": "64", "reason": "x", "seen": ""}
    answer = operator.post(PAGE, {**sent, "key": "0" * 32})
    assert (answer.status_code, Operation.objects.count()) == (400, 3)


def test_page__reason_is_missing__asks_again_with_what_was_chosen(operator, three) -> None:
    answer = confirm(operator, look(operator, setting=KEY, value="64"), reason="")
    assert answer.status_code == 400
    assert "Say why" in text_of(answer)
    assert fields_of(answer)["value"] == "64"
    assert Operation.objects.count() == 3


def test_page__changed_since_it_was_looked_at__asks_again(operator, three) -> None:
    page = look(operator, setting=KEY, value="64")
    change(Agent.objects.get(name="worker-1"), b'{"min_retrieve_tokens": 7}')
    answer = confirm(operator, page)
    assert answer.status_code == 409
    assert "worker-1 7 64" in text_of(answer)
    assert three[0].conf[KEY] == 1
    assert confirm(operator, answer).status_code == 302


def test_page__agent_went_since_it_was_looked_at__asks_again(operator, three) -> None:
    page = look(operator, setting=KEY, value="64")
    Agent.objects.get(name="worker-1").delete()
    answer = confirm(operator, page)
    assert answer.status_code == 409
    assert "Not known any more, and left out: worker-1." in text_of(answer)
    assert "Change min_retrieve_tokens: 1 agent " in text_of(answer)


def test_page__agents_without_the_key__are_left_out(operator, three, fleet) -> None:
    fleet("worker-9")
    page = look(operator, [*NAMES, "worker-9", "gone"], setting=KEY, value="64")
    text = text_of(page)
    assert "a key min_retrieve_tokens that could be changed: worker-9." in text
    assert "left out: gone." in text
    assert "Change min_retrieve_tokens: 2 agents" in text


def test_page__agents_take_other_types__the_other_one_is_refused(operator, three) -> None:
    schema = {**three[1].schema, KEY: {**three[1].schema[KEY], "type": "str", "minimum": None}}
    configuration.remember_schema("worker-1", schema)
    text = text_of(look(operator, setting=KEY, value="64"))
    assert "worker-1 1 it takes another type of value than the others" in text
    assert "Change min_retrieve_tokens" not in text


def test_page__nobody_selected__says_what_to_do(operator, three) -> None:
    assert "No agent was selected." in text_of(operator.get(PAGE))


def test_page__sent_twice__is_one_operation(operator, three, runner) -> None:
    page = look(operator, setting=KEY, value="64")
    first = confirm(operator, page)
    runner.wait_for(first["Location"].split("/")[-2], 10)
    assert confirm(operator, page)["Location"] == first["Location"]
    assert Operation.objects.count() == 4


def test_page__viewer__is_sent_back_and_may_not_send(viewer, operator, three) -> None:
    page = look(operator, setting=KEY, value="64")
    assert look(viewer)["Location"] == "/dashboard/"
    assert confirm(viewer, page).status_code == 403


def test_page__any_number_of_agents__seven_queries(operator, three) -> None:
    for agents in (["worker-0"], NAMES):
        with CaptureQueriesContext(connection) as captured:
            assert look(operator, agents, setting=KEY, value="9").status_code == 200
        # Session and user, agents, schemas, revisions, chain, cursor.
        assert len(captured) == 7
