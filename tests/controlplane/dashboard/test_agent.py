"""An agent's page, and the form of its configuration."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent, Dialect, Health
from controlplane.fleet.observing import record_observation
from controlplane.operations.models import Operation, State
from controlplane.operations.services import perform
from controlplane.reconcile.models import Watch
from engine.contract import Role, endpoint
from tests.support.simulated_agent import SimulatedAgent

from ..conftest import ACTOR

# The runner's threads have connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/dashboard/agents/worker-0/"
EDIT = f"{PAGE}edit/"
KEY = "2" * 32


def text_of(answer) -> str:
    page = answer.content.decode().replace("<wbr>", "")
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def call(agent, operation_id: str, body: bytes | None = None) -> None:
    perform(
        endpoint(operation_id),
        [agent],
        query="",
        body=body,
        actor=ACTOR,
        reason="deploy 42",
        request_id="req-1",
        timeout=5,
    )


@pytest.fixture
def known(fleet):
    """An agent whose configuration and schema were read, and what answers for it."""
    agent, simulated = fleet()
    call(agent, "update_conf", b'{"min_retrieve_tokens": 1}')
    configuration.remember_schema("worker-0", simulated.schema)
    return agent, simulated


def looked_at(agent: Agent, simulated: SimulatedAgent, **watch: object) -> None:
    """What the control loop keeps when it asked the agent just now, and compared it with
    its revision."""
    record_observation(agent, simulated.status())
    Agent.objects.filter(pk=agent.pk).update(health=Health.ONLINE)
    active = configuration.find_active(agent.name)
    notes = {
        "verified_hash": simulated.status()["conf_hash"],
        "verified_revision": 0 if active is None else active.number,
    }
    Watch.objects.update_or_create(agent=agent, defaults={**notes, **watch})


def send(browser, **fields: str):
    form = {"reason": "shorter prompts", "key": KEY, "revision": "2"}
    return browser.post(
        EDIT, {**form, **{name.replace("__", "."): v for name, v in fields.items()}}
    )


def test_agent__modes_and_configuration__are_told_with_their_history(viewer, known) -> None:
    agent, simulated = known
    call(agent, "enable_freeze")
    looked_at(agent, simulated)
    page = viewer.get(PAGE)
    text = text_of(page)
    assert "worker-0 online frozen" in text
    assert re.search(r"freeze on on \d+ s ago — tests deploy 42", text)
    assert re.search(r"Is: as it was found \d+ s ago", text)
    assert "History of its modes" in text
    assert "min_retrieve_tokens 1 1" in text
    fixed = text.partition("more keys, taken at the start only")[2]
    assert "chunk_size 256 256" in fixed
    assert "min_retrieve_tokens" not in fixed
    assert "agent_token &quot;***&quot;" in text
    assert "Change configuration" not in text


def test_agent__many_changes_of_modes__history_leads_on_to_all_of_them(viewer, known) -> None:
    agent, _ = known
    for _ in range(20):
        call(agent, "enable_freeze")
    page = viewer.get(PAGE)
    assert "Reason When (UTC)" in text_of(page)
    assert "All changes of its modes" not in text_of(page)
    call(agent, "disable_freeze")
    page = viewer.get(PAGE)
    assert "These are the newest 20. All changes of its modes" in text_of(page)
    link = re.search(r'id="to-changes" href="([^"]+)"', page.content.decode())
    assert link is not None
    answer = viewer.get(link[1], headers={"Accept": "application/json"})
    assert len(answer.json()["results"]) == 21


def test_agent__drifted__both_sides_stand_beside_each_other(operator, known) -> None:
    agent, simulated = known
    drift = {"configuration": {"min_retrieve_tokens": {"from": 7, "to": 1}}}
    looked_at(agent, simulated, drift=drift)
    assert "min_retrieve_tokens 1 7 differs" in text_of(operator.get(PAGE))


def test_agent__key_that_one_side_has__is_told_of_both(operator, known) -> None:
    drift = {
        "min_retrieve_tokens": {"absent": "from", "to": 1},
        "chunk_size": {"from": 128, "to": 256},
        "brand_new": {"from": 7, "absent": "to"},
    }
    looked_at(*known, drift={"configuration": drift})
    text = text_of(operator.get(PAGE))
    assert "min_retrieve_tokens 1 no such key differs" in text
    assert "brand_new no such key 7 differs" in text
    assert "chunk_size 256 waits until the agent is restarted 128 differs" in text


def test_agent__drift_from_an_earlier_revision__is_not_told_as_what_it_is(operator, known) -> None:
    agent, simulated = known
    call(agent, "update_conf", b'{"min_retrieve_tokens": 2}')
    drift = {"configuration": {"min_retrieve_tokens": {"from": 7, "to": 1}}}
    looked_at(agent, simulated, drift=drift)
    assert "min_retrieve_tokens 2 not read" in text_of(operator.get(PAGE))


def test_agent__key_that_the_lookup_takes_up__waits_until_it_is_made_anew(operator, known) -> None:
    agent, simulated = known
    looked_at(agent, simulated)
    assert "waits" not in text_of(operator.get(PAGE))
    call(agent, "update_conf", b'{"hit_miss_ratio": 0.5}')
    looked_at(agent, simulated)
    text = text_of(operator.get(PAGE))
    assert "hit_miss_ratio 0.5 waits until the lookup is recreated 0.5" in text
    call(agent, "recreate_lookup")
    assert "waits" not in text_of(operator.get(PAGE))
    call(agent, "update_conf", b'{"hit_miss_ratio": 0.6}')
    assert "hit_miss_ratio 0.6 waits" in text_of(operator.get(PAGE))
    started_anew = {**simulated.status(), "started_at": timezone.now().timestamp() + 1}
    record_observation(agent, started_anew)
    assert "waits" not in text_of(operator.get(PAGE))


@pytest.mark.parametrize("started_at", [1e300, -1e300, "now", True, None])
def test_agent__start_that_is_no_moment__keys_wait_as_if_it_were_long_ago(
    operator, known, started_at
) -> None:
    agent, _ = known
    call(agent, "update_conf", b'{"hit_miss_ratio": 0.5}')
    Agent.objects.filter(pk=agent.pk).update(last_status={"started_at": started_at})
    assert "hit_miss_ratio 0.5 waits" in text_of(operator.get(PAGE))


def test_agent__mode_changed_past_the_control_plane__both_sides_stand_beside_each_other(
    operator, known
) -> None:
    agent, simulated = known
    call(agent, "enable_freeze")
    simulated.freeze, simulated.bypassed = False, ["RemoteBackend"]
    looked_at(agent, simulated)
    text = text_of(operator.get(PAGE))
    assert "freeze on off differs" in text
    assert "bypass RemoteBackend nobody said on" in text
    assert "hot cache nobody said on" in text


def test_agent__bypass_that_the_agent_does_not_have__differs(operator, known) -> None:
    agent, simulated = known
    perform(
        endpoint("add_bypass"),
        [agent],
        query="backend_name=RemoteBackend",
        body=None,
        actor=ACTOR,
        reason="",
        request_id="req-1",
        timeout=5,
    )
    simulated.bypassed = []
    looked_at(agent, simulated)
    assert "bypass RemoteBackend on off differs" in text_of(operator.get(PAGE))


@pytest.mark.parametrize(
    "notes",
    [
        {"verified_hash": ""},
        {"verified_hash": "another"},
        {"verified_revision": 1},
        {"verified_hash": "", "drift": {"modes": {"freeze": {"from": False, "to": True}}}},
    ],
)
def test_agent__not_compared_with_its_revision__what_it_should_be_is_not_told_as_what_it_is(
    operator, known, notes
) -> None:
    looked_at(*known, **notes)
    text = text_of(operator.get(PAGE))
    assert "What it has was not read since this revision was made" in text
    assert "min_retrieve_tokens 1 not read" in text


def test_agent__changed_since_it_was_asked__is_not_known(operator, known) -> None:
    agent, simulated = known
    looked_at(agent, simulated)
    call(agent, "enable_freeze")
    call(agent, "update_conf", b'{"min_retrieve_tokens": 2}')
    text = text_of(operator.get(PAGE))
    assert "freeze on not known" in text
    assert "min_retrieve_tokens 2 not read" in text


def test_agent__does_not_answer__tells_what_was_and_when(operator, known) -> None:
    agent, simulated = known
    call(agent, "enable_freeze")
    looked_at(agent, simulated)
    Agent.objects.filter(pk=agent.pk).update(health=Health.OFFLINE)
    text = text_of(operator.get(PAGE))
    assert "It does not answer. What it is, and what it counted, is what it told" in text
    assert re.search(r"Was: as it was found .*ago", text)
    assert "Key Should be Was Meaning" in text
    assert "Mode Should be Was Since" in text


def test_agent__has_left__tells_so(operator, known) -> None:
    agent, simulated = known
    looked_at(agent, simulated)
    Agent.objects.filter(pk=agent.pk).update(left_at=timezone.now())
    text = text_of(operator.get(PAGE))
    assert "It said that its process ends." in text
    assert "Key Should be Was Meaning" in text


def test_agent__nothing_known_yet__says_what_will_come(operator, make_agent) -> None:
    make_agent()
    text = text_of(operator.get(PAGE))
    assert "It was never heard of" in text
    assert "in the admin" not in text
    assert "Nothing is known of its configuration yet" in text
    assert "Nobody has set a mode of this agent" in text
    assert "Change configuration" not in text


def test_agent__lmcache__says_what_it_does_not_tell_and_where_to_go(
    operator, make_agent, seen
) -> None:
    seen(make_agent(dialect=Dialect.LMCACHE))
    page = operator.get(PAGE)
    text = text_of(page)
    assert "It tells no schema, so there is no form here; change it with POST …/conf" in text
    assert 'href="/agents/worker-0/conf"' in page.content.decode()
    assert "LMCache tells of it only when it is asked: GET …/lookup/info" in text
    assert "Change configuration" not in text


def test_agent__scheduler__has_no_modes_and_says_why(operator, make_agent) -> None:
    make_agent("scheduler", role=Role.SCHEDULER)
    text = text_of(operator.get("/dashboard/agents/scheduler/"))
    assert "None: a scheduler holds no KV that could be frozen or bypassed." in text


def test_agent__unknown__404_page(viewer) -> None:
    page = viewer.get("/dashboard/agents/nobody/")
    assert page.status_code == 404
    assert "There is no agent &#x27;nobody&#x27;" in text_of(page)


def test_agent__queries__are_a_handful(viewer, known) -> None:
    agent, _ = known
    for _ in range(5):
        call(agent, "enable_freeze")
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get(PAGE).status_code == 200
    # Session and user, agent, modes, revision, schema, keys that wait, history, chain,
    # cursor.
    assert len(captured) == 10


def test_edit__form__has_the_keys_that_can_be_changed_and_no_secret(operator, known) -> None:
    page = operator.get(EDIT).content.decode()
    names = re.findall(r'name="set\.(\w+)"', page)
    assert names == ["hit_miss_ratio", "min_retrieve_tokens", "remote_serde", "save_decode_cache"]
    assert "At least 0. At most 1,048,576." in page
    assert re.findall(r"<option[^>]*>(\w+)</option>", page) == ["naive", "zstd", "true", "false"]


def test_edit__secret_that_is_empty_and_can_be_changed__is_not_in_the_form(operator, fleet) -> None:
    agent, simulated = fleet()
    key = simulated.schema["agent_token"]
    simulated.schema["webhook_secret"] = {**key, "mutable": True}
    simulated.conf["webhook_secret"] = None
    call(agent, "update_conf", b'{"min_retrieve_tokens": 1}')
    configuration.remember_schema("worker-0", simulated.schema)
    page = operator.get(EDIT).content.decode()
    assert 'name="set.min_retrieve_tokens"' in page
    assert "set.webhook_secret" not in page


def test_edit__two_values__are_one_revision_by_an_operation(operator, known, runner) -> None:
    _, simulated = known
    answer = send(
        operator,
        set__min_retrieve_tokens="64",
        set__remote_serde="zstd",
        set__save_decode_cache="false",
        set__hit_miss_ratio="",
    )
    operation = runner.wait_for(answer["Location"].split("/")[-2], 10)
    assert operation.state == State.SUCCEEDED
    assert operation.body == {"min_retrieve_tokens": 64, "remote_serde": "zstd"}
    assert (simulated.conf["min_retrieve_tokens"], simulated.conf["remote_serde"]) == (64, "zstd")
    made = ConfigRevision.objects.get(agent="worker-0", state="active")
    assert (made.number, made.reason, made.actor_name) == (3, "shorter prompts", "operator")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"set__min_retrieve_tokens": "-1"}, "min_retrieve_tokens: it must be at least 0"),
        ({"set__min_retrieve_tokens": "many"}, "is no whole number"),
        ({"set__min_retrieve_tokens": "1_0"}, "is no whole number"),
        ({"set__hit_miss_ratio": "nan"}, "is no number"),
        ({"set__min_retrieve_tokens": ""}, "min_retrieve_tokens: it cannot be null"),
        ({"set__remote_serde": "rot13"}, "remote_serde: it must be one of naive, zstd"),
        ({"set__save_decode_cache": "maybe"}, "is neither true nor false"),
        ({"set__hit_miss_ratio": "7"}, "hit_miss_ratio: it must be at most 1.0"),
        ({"set__min_retrieve_tokens": "1"}, "Nothing differs from what is there"),
        ({"set__min_retrieve_tokens": "64", "reason": ""}, "Say why"),
        ({"set__min_retrieve_tokens": "64", "revision": "old"}, "revision"),
    ],
)
def test_edit__does_not_fit__says_why_and_keeps_what_was_typed(
    operator, known, fields, text
) -> None:
    before = Operation.objects.count()
    page = send(operator, **fields)
    assert page.status_code == 400
    assert text in text_of(page)
    for name, value in fields.items():
        if name == "set__min_retrieve_tokens":
            assert (
                f'name="set.min_retrieve_tokens" id="id_min_retrieve_tokens" value="{value}"'
                in (page.content.decode())
            )
    assert Operation.objects.count() == before


@pytest.mark.parametrize(
    ("element", "key", "value"),
    [("select", "remote_serde", "rot13"), ("input", "hit_miss_ratio", "7")],
)
def test_edit__does_not_fit__the_field_points_at_what_is_wrong(
    operator, known, element, key, value
) -> None:
    page = send(operator, **{f"set__{key}": value}).content.decode()
    field = re.search(rf'<{element} name="set.{key}"[^>]*>', page)[0]
    assert 'aria-invalid="true"' in field
    assert f'aria-describedby="help_{key} problem_{key}"' in field
    assert f'id="problem_{key}">' in page


@pytest.fixture
def lists(fleet):
    """What answers for an agent that has keys of several values too."""
    agent, simulated = fleet()
    plain = {**simulated.schema["min_retrieve_tokens"], "minimum": None, "maximum": None}
    simulated.schema["retrieve_locations"] = {
        **plain,
        "type": "list[str]",
        "choices": ["LocalCPUBackend", "LocalDiskBackend"],
        "optional": True,
    }
    simulated.schema["extra_config"] = {**plain, "type": "dict", "optional": True}
    simulated.conf["retrieve_locations"] = ["LocalCPUBackend", "LocalDiskBackend"]
    simulated.conf["extra_config"] = None
    call(agent, "update_conf", b'{"min_retrieve_tokens": 1}')
    configuration.remember_schema("worker-0", simulated.schema)
    return simulated


def test_edit__list__is_written_with_commas_and_an_example(operator, lists) -> None:
    page = operator.get(EDIT)
    assert 'value="LocalCPUBackend, LocalDiskBackend"' in page.content.decode()
    text = text_of(page)
    assert (
        "Such as LocalCPUBackend, LocalDiskBackend or "
        "[&quot;LocalCPUBackend&quot;, &quot;LocalDiskBackend&quot;] ."
    ) in text
    assert "extra_config dict; empty: null" in text
    assert "Such as {&quot;name&quot;: &quot;value&quot;} ." in text


def test_edit__list_as_it_stands__is_no_change(operator, lists) -> None:
    page = send(operator, set__retrieve_locations="LocalCPUBackend, LocalDiskBackend")
    assert "Nothing differs" in text_of(page)


@pytest.mark.parametrize("text", ["LocalDiskBackend", '["LocalDiskBackend"]'])
def test_edit__list__is_taken_with_commas_and_as_json(operator, lists, runner, text) -> None:
    answer = send(operator, set__retrieve_locations=text)
    operation = runner.wait_for(answer["Location"].split("/")[-2], 10)
    assert operation.body == {"retrieve_locations": ["LocalDiskBackend"]}


@pytest.mark.parametrize("key", ["retrieve_locations", "extra_config"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 900 + "1" + "}" * 900])
def test_edit__nested_without_end__400_naming_it(operator, lists, key, text) -> None:
    page = send(operator, **{f"set__{key}": text})
    assert page.status_code == 400
    assert f"Correct {key} ." in text_of(page)


def test_edit__key_that_only_a_start_takes__is_not_sent(operator, known) -> None:
    page = send(operator, set__chunk_size="1", set__agent_token="mine")
    assert page.status_code == 400
    assert "Nothing differs" in text_of(page)


def test_edit__somebody_was_faster__changes_nothing_and_tells(operator, known, runner) -> None:
    agent, simulated = known
    call(agent, "update_conf", b'{"min_retrieve_tokens": 9}')
    answer = send(operator, set__min_retrieve_tokens="64")
    operation = runner.wait_for(answer["Location"].split("/")[-2], 10)
    assert operation.state == State.FAILED
    assert simulated.conf["min_retrieve_tokens"] == 9
    assert "revision 3" in text_of(operator.get(answer["Location"]))


def test_edit__viewer__is_sent_back_and_may_not_send(viewer, known) -> None:
    assert viewer.get(EDIT)["Location"] == PAGE
    assert send(viewer, set__min_retrieve_tokens="64").status_code == 403
