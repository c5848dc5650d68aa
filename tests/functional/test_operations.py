"""Operations over several agents through the generated client."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from kvplane_client import AuthenticatedClient
from kvplane_client.api.agents import delete_agent, register_agent
from kvplane_client.api.audit import list_audit_entries
from kvplane_client.api.engines import delete_engine
from kvplane_client.api.freeze import get_freeze_status_of_agent
from kvplane_client.api.operations import (
    cancel_operation,
    get_operation,
    list_operations,
    list_targets,
    retry_operation,
    start_operation,
)
from kvplane_client.models import (
    AgentFailure,
    AgentWriteRequest,
    Conflict,
    Error,
    InvalidRequest,
    NewOperationRequest,
    Operation,
    SelectorRequest,
    StrategyRequest,
)

from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

WORKERS = SelectorRequest(engines=["smollm2"], roles=["worker"])
WAIT_S = 30.0


def thaw(operator: AuthenticatedClient) -> None:
    start_operation.sync(
        client=operator,
        body=NewOperationRequest(action="freeze.disable", selector=WORKERS),
        wait=WAIT_S,
    )


def ended(operator: AuthenticatedClient, operation: UUID) -> Operation:
    def finished() -> Operation | None:
        found = get_operation.sync(operation, client=operator)
        assert isinstance(found, Operation)
        return None if found.finished_at is None else found

    return eventually(finished, seconds=WAIT_S)


@pytest.fixture
def silent(admin: AuthenticatedClient) -> Iterator[str]:
    """An agent that nothing answers for."""
    agent = AgentWriteRequest(
        name="silent-worker", engine="silent", role="worker", worker_id=0, url="http://127.0.0.1:9"
    )
    register_agent.sync(client=admin, body=agent)
    yield agent.name
    delete_agent.sync_detailed(agent.name, client=admin)
    delete_engine.sync_detailed("silent", client=admin)


def test_operation__on_the_workers_of_an_engine__every_outcome_and_its_audit_trail(
    operator: AuthenticatedClient,
) -> None:
    wanted = NewOperationRequest(
        action="freeze.enable",
        selector=WORKERS,
        strategy=StrategyRequest(canary=1, on_failure="rollback"),
        reason="déploiement: テスト",
        expires_in_s=3600,
    )
    answer = start_operation.sync_detailed(client=operator, body=wanted, wait=WAIT_S)
    operation = answer.parsed
    assert answer.status_code == 200
    assert operation.state == "succeeded"
    assert answer.headers["Location"].endswith(f"/api/v1/operations/{operation.id}")
    assert [(target.agent, target.wave) for target in operation.targets] == [
        ("smollm2-worker-0", 0),
        ("smollm2-worker-1", 1),
    ]
    assert operation.targets[0].answer["freeze"] is True
    assert operation.selector.engines == ["smollm2"]
    assert operation.strategy.on_failure == "rollback"
    assert operation.options.expires_at > operation.created_at
    assert get_freeze_status_of_agent.sync("smollm2-worker-1", client=operator).freeze is True

    trail = list_audit_entries.sync(client=operator, operation=operation.id, ordering="id")
    assert {entry.reason for entry in trail.results} == {wanted.reason}
    assert trail.results[0].stage == "requested"
    assert trail.results[-1].stage == "completed"
    thaw(operator)


def test_operation__same_key_again__is_the_same_and_with_another_request_a_conflict(
    operator: AuthenticatedClient,
) -> None:
    key = f"deploy-{uuid4()}"
    wanted = NewOperationRequest(action="hot_cache.enable", selector=WORKERS, reason="once")
    first = start_operation.sync(client=operator, body=wanted, idempotency_key=key, wait=WAIT_S)
    again = start_operation.sync(client=operator, body=wanted, idempotency_key=key, wait=WAIT_S)
    assert again.id == first.id
    other = NewOperationRequest(action="freeze.disable", selector=WORKERS)
    refused = start_operation.sync(client=operator, body=other, idempotency_key=key)
    assert isinstance(refused, Conflict)
    assert refused.operation == str(first.id)


def test_operation__one_agent_is_silent__failed_in_part_and_retried_on_it_alone(
    operator: AuthenticatedClient, silent: str
) -> None:
    wanted = NewOperationRequest(
        action="hot_cache.enable",
        selector=SelectorRequest(agents=["smollm2-worker-0", silent]),
        strategy=StrategyRequest(max_failures=None),
    )
    operation = start_operation.sync(client=operator, body=wanted, wait=WAIT_S)
    assert operation.state == "partially_failed"
    outcomes = {target.agent: target for target in operation.targets}
    assert outcomes["smollm2-worker-0"].error is None
    assert isinstance(outcomes[silent].error, AgentFailure)
    assert outcomes[silent].error.error == "Agent unreachable"
    (unreached,) = list_targets.sync(operation.id, client=operator, state="failed").results
    assert unreached.agent == silent

    retry = retry_operation.sync(operation.id, client=operator, wait=WAIT_S)
    assert retry.retry_of == operation.id
    assert [target.agent for target in retry.targets] == [silent]
    failed = list_operations.sync(client=operator, state="failed", agent=silent)
    assert retry.id in [found.id for found in failed.results]


def test_operation__cancelled_between_two_waves__second_is_not_called(
    operator: AuthenticatedClient,
) -> None:
    wanted = NewOperationRequest(
        action="hot_cache.enable",
        selector=WORKERS,
        strategy=StrategyRequest(wave_size=1, pause_s=60),
    )
    answer = start_operation.sync_detailed(client=operator, body=wanted)
    assert answer.status_code == 202
    stopped = cancel_operation.sync(answer.parsed.id, client=operator)
    assert stopped.cancel_requested_at is not None
    operation = ended(operator, answer.parsed.id)
    assert operation.targets[1].state == "cancelled"

    again = cancel_operation.sync(operation.id, client=operator)
    assert isinstance(again, Conflict)
    assert again.error == "Already finished"


def test_operation__cannot_be_made__error_says_why(operator: AuthenticatedClient) -> None:
    nobody = NewOperationRequest(action="freeze.enable", selector=SelectorRequest())
    refused = start_operation.sync_detailed(client=operator, body=nobody)
    assert refused.status_code == 400
    assert refused.parsed.error == "Nobody selected"

    odd = NewOperationRequest.from_dict(
        {"action": "freeze.enable", "selector": {"engine": "smollm2"}}
    )
    refused = start_operation.sync_detailed(client=operator, body=odd)
    assert isinstance(refused.parsed, InvalidRequest)
    assert "selector" in refused.parsed.fields

    missing = get_operation.sync_detailed(uuid4(), client=operator)
    assert missing.status_code == 404
    assert isinstance(missing.parsed, Error)
