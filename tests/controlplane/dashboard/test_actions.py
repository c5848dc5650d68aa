"""What an operator does from the fleet page, and the trail that it leaves."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Health
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.models import Operation, State
from engine.contract import Role

# The runner's threads have connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)

CONFIRM = "/dashboard/fleet/confirm/"
KEY = "0" * 32
TRAIL = ("stage", "action", "agent", "engine", "target", "reason", "outcome")


def post(browser, action: str, *agents: str, **fields: str):
    form = {"action": action, "agents": " ".join(agents), "reason": "deploy 42", "key": KEY}
    return browser.post(CONFIRM, {**form, **fields})


def finished(runner, answer) -> Operation:
    found = re.fullmatch(r"/dashboard/operations/([0-9a-f-]{36})/", answer["Location"])
    assert found is not None
    return runner.wait_for(found[1], 10)


def text_of(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_confirm__two_selected__says_what_happens_to_how_many(operator, make_agent) -> None:
    make_agent()
    make_agent("worker-1", worker_id=1, engine="engine-b")
    page = operator.get(f"{CONFIRM}?action=freeze.enable&agent=worker-0&agent=worker-1")
    text = text_of(page)
    assert "Freeze: 2 agents" in text
    assert "engine-a 1 worker-0 engine-b 1 worker-1" in text
    assert "Nothing is stored in any tier" in text
    assert not Operation.objects.exists()


def test_confirm__some_do_not_fit__says_who_is_left_out(operator, make_agent) -> None:
    agent = make_agent()
    agent.health = Health.OFFLINE
    agent.save()
    make_agent("scheduler", role=Role.SCHEDULER)
    query = "action=freeze.enable&agent=worker-0&agent=scheduler&agent=gone"
    text = text_of(operator.get(f"{CONFIRM}?{query}"))
    assert "Freeze: 1 agent " in text
    assert "Not known any more, and left out: gone." in text
    assert "Left out, because a scheduler has no KV cache: scheduler." in text
    assert "Probably without an answer: worker-0 (offline)." in text


def test_confirm__nobody_selected__says_what_to_do(operator) -> None:
    text = text_of(operator.get(f"{CONFIRM}?action=freeze.enable"))
    assert "No agent was selected. Go back and select some." in text


def test_confirm__unknown_action__400_naming_the_choice(operator) -> None:
    page = operator.get(f"{CONFIRM}?action=conf.update&agent=worker-0")
    assert page.status_code == 400
    assert "freeze.enable" in text_of(page)


def test_freeze__for_ten_minutes__is_an_operation_with_an_end(operator, fleet, runner) -> None:
    _, simulated = fleet()
    before = timezone.now()
    operation = finished(runner, post(operator, "freeze.enable", "worker-0", minutes="10"))
    assert operation.state == State.SUCCEEDED
    assert operation.reason == "deploy 42"
    assert simulated.freeze is True
    desired = DesiredMode.objects.get(agent="worker-0", mode="freeze")
    assert (
        timedelta(0) <= desired.expires_at - before - timedelta(minutes=10) < timedelta(seconds=10)
    )


@pytest.mark.parametrize(
    ("action", "fields", "attribute", "value"),
    [
        ("freeze.enable", {}, "freeze", True),
        ("freeze.disable", {}, "freeze", False),
        ("hot_cache.disable", {}, "hot_cache", False),
        ("hot_cache.enable", {}, "hot_cache", True),
        ("bypass.add", {"backend": "RemoteBackend"}, "bypassed", ["RemoteBackend"]),
        ("bypass.remove", {"backend": "RemoteBackend"}, "bypassed", []),
    ],
)
def test_action__each_button__does_it_to_the_selected_only(
    operator, fleet, runner, action, fields, attribute, value
) -> None:
    simulated = [fleet(f"worker-{number}")[1] for number in range(3)]
    for agent in simulated:
        agent.freeze = not value if attribute == "freeze" else False
        agent.hot_cache = not value if attribute == "hot_cache" else True
        agent.bypassed = [] if value else ["RemoteBackend"]
    others = getattr(simulated[2], attribute)
    operation = finished(runner, post(operator, action, "worker-0", "worker-1", **fields))
    assert operation.state == State.SUCCEEDED
    assert [getattr(agent, attribute) for agent in simulated] == [value, value, others]


def test_freeze__by_page_and_by_api__leave_the_same_trail(
    operator, operator_api, fleet, runner, monkeypatch
) -> None:
    fleet()
    fleet("worker-1")
    monkeypatch.setattr("controlplane.operations.waiting.shared_runner", lambda: runner)
    by_api = operator_api.post(
        "/api/v1/operations/?wait=10",
        {
            "action": "freeze.enable",
            "selector": {"agents": ["worker-0", "worker-1"]},
            "reason": "deploy 42",
            "expires_in_s": 600,
        },
        format="json",
    ).json()
    by_page = finished(
        runner, post(operator, "freeze.enable", "worker-0", "worker-1", minutes="10")
    )

    def trail(operation_id) -> list[tuple[object, ...]]:
        entries = AuditEntry.objects.filter(operation_id=operation_id).order_by("id")
        told = [
            tuple(str(getattr(entry, name)).replace(str(operation_id), "ID") for name in TRAIL)
            for entry in entries
        ]
        requests = [entry.request for entry in entries if entry.request]
        return [*sorted(told), requests]

    assert trail(by_page.pk) == trail(by_api["id"])
    (entry, *_) = AuditEntry.objects.filter(operation_id=by_page.pk)
    assert (entry.actor_kind, entry.actor_name) == ("user", "operator")
    assert by_page.concurrency == by_api["concurrency"]
    assert by_page.timeout_s == by_api["timeout_s"]


def confirmed(page) -> list[str]:
    found = re.search(r'name="agents" value="([^"]*)"', page.content.decode())
    assert found is not None
    return found[1].split()


def test_freeze__scheduler_among_the_selected__only_workers_are_called(
    operator, fleet, make_agent, runner
) -> None:
    fleet()
    make_agent("scheduler", role=Role.SCHEDULER)
    page = operator.get(f"{CONFIRM}?action=freeze.enable&agent=worker-0&agent=scheduler")
    operation = finished(runner, post(operator, "freeze.enable", *confirmed(page)))
    assert [target.agent for target in operation.targets.all()] == ["worker-0"]


def test_freeze__an_agent_went_since_it_was_confirmed__asks_again(operator, fleet, runner) -> None:
    fleet()
    gone, _ = fleet("worker-1")
    asked = operator.get(f"{CONFIRM}?action=freeze.enable&agent=worker-0&agent=worker-1")
    gone.delete()

    page = post(operator, "freeze.enable", *confirmed(asked))

    assert page.status_code == 409
    assert "Not all of the agents that you confirmed" in text_of(page)
    assert "Not known any more, and left out: worker-1." in text_of(page)
    assert "Freeze: 1 agent " in text_of(page)
    assert not Operation.objects.exists()
    operation = finished(runner, post(operator, "freeze.enable", *confirmed(page)))
    assert [target.agent for target in operation.targets.all()] == ["worker-0"]


def test_freeze__another_role_since_it_was_confirmed__asks_again(operator, fleet) -> None:
    agent, _ = fleet()
    asked = operator.get(f"{CONFIRM}?action=freeze.enable&agent=worker-0")
    agent.role, agent.worker_id = Role.SCHEDULER, None
    agent.save()

    page = post(operator, "freeze.enable", *confirmed(asked))

    assert page.status_code == 409
    assert "None of the selected agents has what this changes." in text_of(page)
    assert not Operation.objects.exists()


def test_freeze__names_as_browsers_send_lines__all_of_them_are_called(
    operator, fleet, runner
) -> None:
    for number in range(3):
        fleet(f"worker-{number}")
    sent = {"agents": "worker-0\r\nworker-1\r\nworker-2"}
    operation = finished(runner, post(operator, "freeze.enable", **sent))
    called = {target.agent for target in operation.targets.all()}
    assert called == {"worker-0", "worker-1", "worker-2"}


def test_confirm__several_selected__names_in_the_form_survive_a_browser(
    operator, make_agent
) -> None:
    make_agent()
    make_agent("worker-1", worker_id=1)
    page = operator.get(f"{CONFIRM}?action=freeze.enable&agent=worker-0&agent=worker-1")
    assert 'name="agents" value="worker-0 worker-1"' in page.content.decode()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"reason": ""}, "Say why: it is kept in the audit log with the change."),
        ({"reason": "   "}, "Say why: it is kept in the audit log with the change."),
        ({"reason": "x" * 501}, "at most 500 characters"),
        ({"minutes": "0"}, "greater than or equal to 1"),
        ({"minutes": "soon"}, "Enter a whole number"),
        ({"minutes": "9999999"}, "less than or equal to 525600"),
        ({"key": "mine"}, "begin again from the page before"),
    ],
)
def test_freeze__form_is_wrong__says_why_changes_nothing_and_keeps_the_rest(
    operator, make_agent, fields, text
) -> None:
    make_agent()
    page = post(operator, "freeze.enable", "worker-0", **fields)
    assert page.status_code == 400
    assert text in text_of(page)
    assert 'name="agents" value="worker-0"' in page.content.decode()
    assert not Operation.objects.exists()


def test_bypass__no_backend__is_asked_for(operator, make_agent) -> None:
    make_agent()
    page = post(operator, "bypass.add", "worker-0")
    assert page.status_code == 400
    assert "Choose the backend." in text_of(page)


@pytest.mark.parametrize("told", [{}, {"bypassed_backends": ["RemoteBackend"]}])
def test_bypass__no_backend__the_field_points_at_what_is_wrong(
    operator, make_agent, seen, told
) -> None:
    agent = make_agent()
    if told:
        seen(agent, said=told)
    page = post(operator, "bypass.add", "worker-0").content.decode()
    field = re.search(r'<(?:select|input) name="backend"[^>]*>', page)[0]
    assert field.startswith("<select" if told else "<input")
    assert 'aria-invalid="true"' in field
    assert 'aria-describedby="backend-problem"' in field
    assert '<p class="problem" id="backend-problem" role="alert">' in page


def test_bypass__agents_told_of_their_backends__are_offered(operator, make_agent, seen) -> None:
    seen(make_agent(), said={"storage": {"RemoteBackend": {}, "LocalCPUBackend": {}}})
    page = operator.get(f"{CONFIRM}?action=bypass.add&agent=worker-0").content.decode()
    assert re.findall(r"<option>(\w+)</option>", page) == ["LocalCPUBackend", "RemoteBackend"]
    assert '<option value="">choose one…</option>' in page


def test_clear__asked_about__says_plainly_what_is_lost(operator, make_agent) -> None:
    make_agent()
    make_agent("scheduler", role=Role.SCHEDULER)
    query = "action=cache.clear&agent=worker-0&agent=scheduler"
    page = operator.get(f"{CONFIRM}?{query}")
    text = text_of(page)
    assert "Clear cache: 1 agent " in text
    assert "What is cached is lost" in text
    assert "Left out, because a scheduler has no KV cache: scheduler." in text
    # Nothing brings a cache back.
    assert "Ends after" not in text


@pytest.mark.parametrize(
    ("fields", "query"), [({}, ""), ({"backend": "LocalDiskBackend"}, "locations=LocalDiskBackend")]
)
def test_clear__confirmed__every_backend_or_the_one_that_was_chosen(
    operator, fleet, runner, fields, query
) -> None:
    fleet()
    operation = finished(runner, post(operator, "cache.clear", "worker-0", **fields))
    assert (operation.action, operation.query) == ("cache.clear", query)


@pytest.mark.parametrize("verb", ["start", "stop", "reset"])
def test_statistics__of_selected_agents__only_schedulers_are_called(
    operator, make_agent, runner, verb
) -> None:
    make_agent()
    make_agent("scheduler", role=Role.SCHEDULER)
    action = f"chunk_statistics.{verb}"
    page = operator.get(f"{CONFIRM}?action={action}&agent=worker-0&agent=scheduler")
    assert "Left out, because a worker counts no prompts" in text_of(page)
    assert ("is lost" in text_of(page)) == (verb == "reset")
    operation = finished(runner, post(operator, action, *confirmed(page)))
    assert [target.agent for target in operation.targets.all()] == ["scheduler"]
    assert operation.action == action


@pytest.mark.parametrize(
    ("role", "offered", "left_out"),
    [
        (Role.WORKER, "cache.clear", "chunk_statistics.reset"),
        (Role.SCHEDULER, "chunk_statistics.reset", "cache.clear"),
    ],
)
def test_agent_page__role__has_the_actions_that_mean_something_to_it(
    operator, make_agent, role, offered, left_out
) -> None:
    make_agent(role=role)
    page = operator.get("/dashboard/agents/worker-0/").content.decode()
    assert f'value="{offered}"' in page
    assert f'value="{left_out}"' not in page


def test_freeze__sent_twice__is_one_operation(operator, fleet, runner) -> None:
    fleet()
    first = post(operator, "freeze.enable", "worker-0")
    second = post(operator, "freeze.enable", "worker-0")
    assert first["Location"] == second["Location"]
    finished(runner, second)
    assert Operation.objects.count() == 1
    assert ModeChange.objects.count() == 1


def test_freeze__agents_gone_meanwhile__says_so_and_changes_nothing(operator) -> None:
    page = post(operator, "freeze.enable", "worker-0")
    assert page.status_code == 409
    assert "Not all of the agents that you confirmed can be called any more." in text_of(page)
    assert not Operation.objects.exists()
    assert "Not known any more, and left out: worker-0." in text_of(page)
