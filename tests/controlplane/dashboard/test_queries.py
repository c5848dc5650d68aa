"""How many queries the pages make that act on agents: as many for 500 agents as for one."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.planning import Plan, plan_operation
from controlplane.operations.selecting import Selector
from controlplane.operations.services import perform
from engine.contract import endpoint

from ..conftest import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[1, 500])
def names(request, fleet) -> list[str]:
    """One agent that answers, alone and beside 499 others."""
    agent, _ = fleet()
    call(agent, "update_conf", b'{"min_retrieve_tokens": 1}')
    others = [
        Agent(
            name=f"other-{number}",
            url=f"http://127.0.0.1:{8000 + number}",
            role=agent.role,
            worker_id=number,
            engine=agent.engine,
            registered_at=agent.registered_at,
        )
        for number in range(1, request.param)
    ]
    Agent.objects.bulk_create(others)
    return ["worker-0", *(other.name for other in others)]


def call(agent: Agent, operation_id: str, body: bytes | None = None) -> Operation:
    return perform(
        endpoint(operation_id),
        [agent],
        query="",
        body=body,
        actor=ACTOR,
        reason="",
        request_id="req-1",
        timeout=5,
    ).operation


def queries_of(browser, url: str, data: dict[str, object] | None = None, status: int = 200) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(url, data or {}).status_code == status
    return len(captured)


def test_confirm__any_number_of_agents__five_queries(operator, names) -> None:
    asked = {"action": "freeze.enable", "agent": names}
    # Session and user, agents, chain, cursor.
    assert queries_of(operator, "/dashboard/fleet/confirm/", asked) == 5


@pytest.mark.parametrize(
    ("page", "status", "queries"),
    [
        # Session and user, agent, revision, schema, chain, cursor.
        ("edit/", 200, 7),
        # Session and user, agent, chain, cursor; the simulated agent has no KV cache.
        ("kvcache/", 502, 5),
        ("lookup/", 200, 5),
    ],
)
def test_pages_of_an_agent__any_number_beside_it__a_handful(
    operator, names, page, status, queries
) -> None:
    url = f"/dashboard/agents/worker-0/{page}"
    assert queries_of(operator, url, status=status) == queries


def test_restore__any_number_of_agents__a_handful(operator, names) -> None:
    first = ConfigRevision.objects.get(agent="worker-0", number=1)
    # Session and user, revision, agent, the target again, the active one, what is secret,
    # chain, cursor.
    assert queries_of(operator, f"/dashboard/revisions/{first.pk}/restore/") == 9


def test_entry__any_number_of_agents__five_queries(operator, names) -> None:
    entry = AuditEntry.objects.filter(action="conf.update").latest("id")
    # Session and user, entry, chain, cursor.
    assert queries_of(operator, f"/dashboard/audit/{entry.pk}/") == 5


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED])
def test_operation__any_number_of_agents__a_handful(operator, names, state) -> None:
    wanted = Plan(endpoint("enable_freeze"), Selector(agents=tuple(names)), timeout_s=5)
    operation = plan_operation(wanted, key="", actor=ACTOR, request_id="req-1").operation
    Operation.objects.filter(pk=operation.pk).update(state=state)
    OperationTarget.objects.filter(operation=operation).update(state=state)
    # Session and user, operation, its states and targets, what can be taken back and
    # whether somebody does it, chain, cursor.
    expected = 7 if state is State.RUNNING else 9
    assert queries_of(operator, f"/dashboard/operations/{operation.pk}/") == expected
