"""What is done with agents from the admin: after asking back, through `operations`."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from controlplane.accounts.models import UserRole
from controlplane.adminsite.agents import ON_AGENTS, SWITCHES
from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.models import Operation
from engine.contract import Role

LIST = "/admin/fleet/agent/"
NAMES = [one.name for one in ON_AGENTS]


def page(name: str) -> str:
    return f"{LIST}confirm/{name}/"


def keys(*agents: Agent) -> str:
    return "\n".join(str(agent.pk) for agent in agents)


def trail(**wanted) -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.filter(**wanted).order_by("id")
    return [(entry.action, entry.stage, entry.agent) for entry in entries]


def do(client, name, *agents, follow=False, headers=None, **fields):
    sent = {"keys": keys(*agents), "reason": "maintenance", "key": uuid4().hex, **fields}
    return client.post(page(name), sent, follow=follow, headers=headers)


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_selected__operator__is_asked_back_and_nothing_is_done_yet(page_as, fleet, agents, name):
    made = [fleet("worker-0")[0], fleet("worker-1")[0]]
    client = page_as(UserRole.OPERATOR)

    answer = client.post(
        LIST, {"action": name, "_selected_action": [agent.pk for agent in made], "index": "0"}
    )

    text = answer.content.decode()
    assert answer.status_code == 200
    assert ": 2 agents" in text
    assert "worker-0" in text
    assert "worker-1" in text
    assert 'name="reason"' in text
    assert agents.requests == []
    assert not Operation.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_button__on_the_agents_page__leads_to_the_page_that_asks(page_as, fleet, name):
    agent, _ = fleet("worker-0")
    client = page_as(UserRole.OPERATOR)
    text = client.get(f"{LIST}{agent.pk}/change/").content.decode()

    assert f'href="{page(name)}?key={agent.pk}"' in text
    asked = client.get(page(name), {"key": agent.pk})
    assert asked.status_code == 200
    assert "worker-0" in asked.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_viewer__neither_sees_nor_may_do_it(page_as, fleet, agents, name):
    agent, _ = fleet("worker-0")
    client = page_as(UserRole.VIEWER)

    assert page(name) not in client.get(f"{LIST}{agent.pk}/change/").content.decode()
    assert f'value="{name}"' not in client.get(LIST).content.decode()
    assert client.get(page(name), {"key": agent.pk}).status_code == 403
    assert do(client, name, agent, backend="LocalCPUBackend").status_code == 403
    client.post(LIST, {"action": name, "_selected_action": [agent.pk], "index": "0"})
    assert agents.requests == []
    assert "access.denied" in {entry.action for entry in AuditEntry.objects.all()}


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "two\nlines"])
def test_reason__missing_or_bad__is_told_at_the_field_and_nothing_is_done(
    page_as, fleet, agents, name, reason
):
    agent, _ = fleet("worker-0")

    answer = do(page_as(UserRole.OPERATOR), name, agent, reason=reason, backend="RemoteBackend")

    assert answer.context["form"].errors.keys() == {"reason"}
    assert "Nothing was done yet" in answer.content.decode()
    assert agents.requests == []
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_reason__missing__the_error_says_what_to_do(page_as, fleet):
    agent, _ = fleet("worker-0")

    text = do(page_as(UserRole.OPERATOR), "freeze", agent, reason="").content.decode()

    assert "Say why: the reason is kept in the audit log." in text


@pytest.mark.django_db
def test_freeze__one_agent__as_through_the_api(page_as, fleet, operator_api):
    agent, simulated = fleet("worker-0")
    client = page_as(UserRole.OPERATOR)

    answer = do(client, "freeze", agent, follow=True, headers={"x-request-id": "r-1"})

    assert simulated.freeze is True
    operation = Operation.objects.get()
    assert answer.redirect_chain == [(f"/admin/operations/operation/{operation.pk}/change/", 302)]
    text = answer.content.decode()
    assert f">{operation.pk}</a> (freeze.enable) succeeded. worker-0: succeeded" in text
    assert (operation.reason, operation.actor_name) == ("maintenance", "operator")
    assert (operation.actor_kind, operation.request_id) == ("user", "r-1")
    assert trail(request_id="r-1") == [
        ("freeze.enable", "requested", "worker-0"),
        ("freeze.enable", "completed", "worker-0"),
    ]
    assert DesiredMode.objects.get().value is True


@pytest.mark.django_db(transaction=True)
def test_freeze__two_agents__one_operation_with_an_outcome_for_each(page_as, fleet):
    made = [fleet(f"worker-{number}") for number in range(2)]
    client = page_as(UserRole.OPERATOR)

    answer = do(
        client,
        "freeze",
        *(agent for agent, _ in made),
        ends="3600",
        follow=True,
        headers={"x-request-id": "r-2"},
    )

    assert [simulated.freeze for _, simulated in made] == [True, True]
    text = answer.content.decode()
    assert "worker-0: succeeded; worker-1: succeeded" in text
    operation = Operation.objects.get()
    assert operation.selector == {"agents": ["worker-0", "worker-1"]}
    in_an_hour = timezone.now() + timedelta(hours=1)
    for change in ModeChange.objects.filter(operation_id=operation.pk):
        assert abs(change.expires_at - in_an_hour) < timedelta(minutes=1)
        assert change.reason == "maintenance"
    assert trail(request_id="r-2", stage="requested") == [("freeze.enable", "requested", "")]
    assert len(trail(request_id="r-2", stage="completed")) == 3


@pytest.mark.django_db(transaction=True)
def test_freeze__one_of_two_does_not_answer__both_outcomes_are_told(page_as, fleet):
    (good, _), (bad, silent) = fleet("worker-0"), fleet("worker-1")

    def refuse(method, path):
        raise NotSent("Connection refused")

    silent.before = refuse
    answer = do(page_as(UserRole.OPERATOR), "freeze", good, bad, follow=True)

    text = answer.content.decode()
    assert "partially failed" in text
    assert "worker-0: succeeded; worker-1: failed (Cannot connect to agent" in text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("unfreeze", lambda simulated: simulated.freeze is False),
        ("hot_cache_off", lambda simulated: simulated.hot_cache is False),
        ("hot_cache_on", lambda simulated: simulated.hot_cache is True),
        ("bypass", lambda simulated: simulated.bypassed == ["LocalDiskBackend"]),
        ("end_bypass", lambda simulated: simulated.bypassed == []),
    ],
)
def test_switch__each_of_them__reaches_the_agent(page_as, fleet, name, state):
    agent, simulated = fleet("worker-0")
    simulated.freeze = name == "unfreeze"
    simulated.hot_cache = name == "hot_cache_off"
    simulated.bypassed = ["LocalDiskBackend"] if name == "end_bypass" else []

    answer = do(page_as(UserRole.OPERATOR), name, agent, backend="LocalDiskBackend", follow=True)

    assert "worker-0: succeeded" in answer.content.decode()
    assert state(simulated)


@pytest.mark.django_db
def test_bypass__no_backend__is_told_at_the_field(page_as, fleet, agents):
    agent, _ = fleet("worker-0")

    answer = do(page_as(UserRole.OPERATOR), "bypass", agent)

    assert answer.context["form"].errors.keys() == {"backend"}
    assert agents.requests == []


@pytest.mark.django_db
def test_bypass__backend_that_the_agent_does_not_have__its_words_are_told(page_as, fleet):
    agent, _ = fleet("worker-0")

    answer = do(page_as(UserRole.OPERATOR), "bypass", agent, backend="NoBackend", follow=True)

    assert "worker-0: failed (Backend &#x27;NoBackend&#x27; not found.)" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"ends": "900", "ends_at": "2090-01-01T00:00"}, "ends_at"),
        ({"ends_at": "2020-01-01T00:00"}, "ends_at"),
        ({"ends_at": "2090-01-01T00:00"}, "ends_at"),
        ({"ends_at": "soon"}, "ends_at"),
        ({"ends": "7"}, "ends"),
    ],
)
def test_end__that_cannot_be__is_told_at_the_field(page_as, fleet, agents, given, field):
    agent, _ = fleet("worker-0")

    answer = do(page_as(UserRole.OPERATOR), "freeze", agent, **given)

    assert field in answer.context["form"].errors
    assert agents.requests == []


@pytest.mark.django_db
def test_end__a_moment__is_taken_as_utc(page_as, fleet):
    agent, _ = fleet("worker-0")
    moment = (timezone.now() + timedelta(days=2)).replace(second=0, microsecond=0)

    do(page_as(UserRole.OPERATOR), "freeze", agent, ends_at=f"{moment:%Y-%m-%dT%H:%M}")

    assert DesiredMode.objects.get().expires_at == moment


@pytest.mark.django_db
def test_confirm__scheduler_and_one_that_left__are_pointed_out(page_as, fleet, make_agent):
    agent, _ = fleet("worker-0")
    scheduler = make_agent("scheduler", role=Role.SCHEDULER, url="http://127.0.0.1:6999")
    Agent.objects.filter(pk=agent.pk).update(left_at=timezone.now())

    answer = page_as(UserRole.OPERATOR).get(page("freeze"), {"key": [agent.pk, scheduler.pk]})

    text = answer.content.decode()
    assert "likely to refuse: scheduler." in text
    assert "may not answer: worker-0." in text


@pytest.mark.django_db
@pytest.mark.parametrize("sent", [{}, {"key": "99999"}, {"key": "nonsense"}, {"key": "9" * 40}])
def test_confirm__nobody__leads_back_to_the_list_and_says_so(page_as, fleet, sent):
    answer = page_as(UserRole.OPERATOR).get(page("freeze"), sent, follow=True)

    assert answer.redirect_chain == [(LIST, 302)]
    assert "select what it is for" in answer.content.decode()


@pytest.mark.django_db
def test_confirm__one_of_two_was_removed_meanwhile__is_asked_again(page_as, fleet, agents):
    made = [fleet(f"worker-{number}")[0] for number in range(2)]
    asked = keys(*made)
    made[1].delete()
    sent = {"keys": asked, "reason": "maintenance"}

    answer = page_as(UserRole.OPERATOR).post(page("freeze"), sent)

    text = answer.content.decode()
    assert "is gone meanwhile" in text
    assert "Freeze: 1 agent" in text
    assert agents.requests == []


@pytest.mark.django_db
def test_confirm__unknown_action__is_not_there(page_as):
    assert page_as(UserRole.OPERATOR).get(page("explode")).status_code == 404


@pytest.mark.django_db
def test_confirm__more_than_can_be_done__is_refused(page_as, fleet, agents, monkeypatch):
    made = [fleet(f"worker-{number}")[0] for number in range(3)]
    (freeze,) = (one for one in SWITCHES if one.name == "freeze")
    monkeypatch.setattr(freeze, "at_most", 2, raising=False)
    client = page_as(UserRole.OPERATOR)

    for answer in (
        do(client, "freeze", *made, follow=True),
        client.post(
            LIST,
            {"action": "freeze", "_selected_action": [made[0].pk], "select_across": "1"},
            follow=True,
        ),
    ):
        assert "select at most 2" in answer.content.decode()
    assert agents.requests == []


@pytest.mark.django_db
def test_probe__of_two__shows_what_they_say_and_is_on_record(page_as, fleet):
    (agent, simulated), (other, silent) = fleet("worker-0"), fleet("worker-1")
    simulated.freeze, simulated.generation = True, 41

    def refuse(method, path):
        raise NotSent("Connection refused")

    silent.before = refuse
    answer = do(page_as(UserRole.OPERATOR), "probe", agent, other, headers={"x-request-id": "r-3"})

    text = answer.content.decode()
    assert "1 answered, 1 did not" in text
    assert "Cannot connect to agent" in text
    assert "<td>41</td>" in text
    assert simulated.boot_id in text
    agent.refresh_from_db()
    assert agent.last_status["generation"] == 41
    entries = list(AuditEntry.objects.filter(request_id="r-3").order_by("id"))
    assert [(entry.action, entry.agent, entry.outcome) for entry in entries] == [
        ("agent.probe", "worker-0", "succeeded"),
        ("agent.probe", "worker-1", "failed"),
    ]
    assert {entry.reason for entry in entries} == {"maintenance"}
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_probe__through_the_api__leaves_the_same_on_record(page_as, fleet, operator_api):
    agent, _ = fleet("worker-0")
    do(page_as(UserRole.OPERATOR), "probe", agent, headers={"x-request-id": "admin"})
    operator_api.post("/api/v1/agents/worker-0/probe", headers={"x-request-id": "api"})

    def told(request_id: str) -> list[tuple]:
        entries = AuditEntry.objects.filter(request_id=request_id)
        return [
            (entry.action, entry.stage, entry.agent, entry.engine, entry.outcome, entry.status)
            for entry in entries
        ]

    assert told("admin") == told("api") != []


@pytest.mark.django_db
def test_database_fails__nothing_is_called_and_the_page_says_so(
    page_as, fleet, agents, monkeypatch
):
    from controlplane.operations import services
    from controlplane.operations.errors import NotRecorded

    agent, _ = fleet("worker-0")

    def fail(*args: object) -> None:
        raise NotRecorded

    monkeypatch.setattr(services, "_record_in_turn", fail)
    answer = do(page_as(UserRole.OPERATOR), "freeze", agent)

    assert answer.status_code == 503
    assert "no agent was called" in answer.content.decode()
    assert agents.requests == []
