"""Engines, agents and their enrolment through the generated client."""

import asyncio
from collections.abc import Callable

import pytest
from kvplane_client import AuthenticatedClient
from kvplane_client.api.agents import (
    delete_agent,
    get_agent,
    list_agents,
    probe_agent,
    register_agent,
    replace_agent,
    update_agent,
)
from kvplane_client.api.engines import (
    create_engine,
    delete_engine,
    get_engine,
    list_engines,
    replace_engine,
)
from kvplane_client.api.enrol import enrol_agent, report_departure
from kvplane_client.api.enrolment_tokens import (
    create_enrolment_token,
    get_enrolment_token,
    list_enrolment_tokens,
    revoke_enrolment_token,
)
from kvplane_client.api.version import get_version, get_version_of_agent
from kvplane_client.models import (
    AgentChangesRequest,
    AgentFailure,
    AgentStatus,
    AgentWriteRequest,
    Conflict,
    DepartureRequest,
    EngineWriteRequest,
    EnrolRequest,
    Error,
    Labels,
    NewEnrolmentTokenRequest,
    PatchedAgentChangesRequest,
)

from tests.functional.conftest import Stack

pytestmark = pytest.mark.slow

NOBODY_THERE = "http://127.0.0.1:9"


def labels(**given: str) -> Labels:
    return Labels.from_dict(given)


def test_engine__made_renamed_and_deleted__is_what_was_asked_for(
    admin: AuthenticatedClient,
) -> None:
    wanted = EngineWriteRequest(name="spare", labels=labels(zone="a"))
    made = create_engine.sync(client=admin, body=wanted)
    assert (made.name, made.agents, made.labels) == ("spare", [], labels(zone="a"))
    again = create_engine.sync(client=admin, body=wanted)
    assert isinstance(again, Conflict)

    renamed = replace_engine.sync("spare", client=admin, body=EngineWriteRequest(name="other"))
    assert renamed.name == "other"
    assert get_engine.sync("other", client=admin) == renamed
    assert [engine.name for engine in list_engines.sync(client=admin, name="other").results] == [
        "other"
    ]
    assert delete_engine.sync_detailed("other", client=admin).status_code == 204
    assert isinstance(get_engine.sync("other", client=admin), Error)


def test_engine__with_agents__is_not_deleted(admin: AuthenticatedClient) -> None:
    refused = delete_engine.sync_detailed("smollm2", client=admin)
    assert refused.status_code == 409
    assert refused.parsed.error == "Engine in use"


def test_agent__registered_changed_and_deleted__is_what_was_asked_for(
    admin: AuthenticatedClient,
) -> None:
    wanted = AgentWriteRequest(
        name="silent", engine="spares", role="worker", worker_id=0, url=NOBODY_THERE
    )
    first = register_agent.sync_detailed(client=admin, body=wanted)
    again = register_agent.sync_detailed(client=admin, body=wanted)
    assert (first.status_code, again.status_code) == (201, 200)

    changes = PatchedAgentChangesRequest(labels=labels(rack="7"))
    assert update_agent.sync("silent", client=admin, body=changes).labels == labels(rack="7")
    replaced = replace_agent.sync(
        "silent",
        client=admin,
        body=AgentChangesRequest(engine="spares", role="worker", worker_id=1, url=NOBODY_THERE),
    )
    assert (replaced.worker_id, replaced.has_token) == (1, False)

    refused = probe_agent.sync_detailed("silent", client=admin)
    assert refused.status_code == 502
    assert isinstance(refused.parsed, AgentFailure)
    assert (refused.parsed.agent, refused.parsed.state) == ("silent", "unchanged")

    assert delete_agent.sync_detailed("silent", client=admin).status_code == 204
    assert get_agent.sync_detailed("silent", client=admin).status_code == 404
    assert delete_engine.sync_detailed("spares", client=admin).status_code == 204


def test_agents__page_by_page__all_of_them_once(stack: Stack, tokens: dict[str, str]) -> None:
    async def read() -> list[str]:
        names: list[str] = []
        async with stack.async_client(tokens["viewer"]) as client:
            page = await list_agents.asyncio(client=client, engine="smollm2", page_size=1)
            names += [agent.name for agent in page.results]
            while page.next_cursor is not None:
                page = await list_agents.asyncio(
                    client=client, engine="smollm2", page_size=1, cursor=page.next_cursor
                )
                names += [agent.name for agent in page.results]
        assert page.previous_cursor is not None
        return names

    assert asyncio.run(read()) == ["smollm2-scheduler", "smollm2-worker-0", "smollm2-worker-1"]


def test_agent__probed__says_how_it_is(operator: AuthenticatedClient) -> None:
    probed = probe_agent.sync("smollm2-worker-0", client=operator)
    assert isinstance(probed.last_status, AgentStatus)
    assert probed.last_status.storage["LocalCPUBackend"].capacity_bytes > 0
    assert probed.health == "online"
    found = list_agents.sync(client=operator, health="online", role="worker")
    assert "smollm2-worker-0" in [agent.name for agent in found.results]


def test_agent__not_named__conflict_lists_the_candidates(viewer: AuthenticatedClient) -> None:
    answer = get_version.sync_detailed(client=viewer, engine="smollm2")
    assert answer.status_code == 409
    assert isinstance(answer.parsed, Conflict)
    assert answer.parsed.candidates == ["smollm2-scheduler", "smollm2-worker-0", "smollm2-worker-1"]
    missing = get_version_of_agent.sync_detailed("no-such-agent", client=viewer)
    assert missing.status_code == 404
    assert isinstance(missing.parsed, Error)


@pytest.fixture
def enrolled(stack: Stack, admin: AuthenticatedClient) -> Callable[[EnrolRequest], object]:
    """Enrols an agent with a new enrolment token; the client that holds it."""
    issued = create_enrolment_token.sync(client=admin, body=NewEnrolmentTokenRequest(name="rack 7"))

    def enrol(request: EnrolRequest) -> object:
        with stack.client(issued.token) as own:
            return enrol_agent.sync_detailed(client=own, body=request), issued

    return enrol


def test_enrolment__of_a_new_agent__is_registered_until_it_leaves(
    stack: Stack, admin: AuthenticatedClient, enrolled: Callable[[EnrolRequest], object]
) -> None:
    request = EnrolRequest(
        name="guest",
        engine="guests",
        role="scheduler",
        url=NOBODY_THERE,
        agent_token="its-own-secret",
        boot_id="first-start",
    )
    answer, issued = enrolled(request)
    assert answer.status_code == 201
    assert (answer.parsed.name, answer.parsed.has_token) == ("guest", True)

    with stack.client(issued.token) as own:
        departure = DepartureRequest(
            name="guest", agent_token="its-own-secret", boot_id="first-start"
        )
        left = report_departure.sync(client=own, body=departure)
        stolen = EnrolRequest.from_dict({**request.to_dict(), "agent_token": "another-secret"})
        taken = enrol_agent.sync(client=own, body=stolen)
    assert left.left_at is not None
    assert isinstance(taken, Conflict)

    row = issued.details.id
    assert get_enrolment_token.sync(row, client=admin).name == "rack 7"
    assert revoke_enrolment_token.sync_detailed(row, client=admin).status_code == 204
    revoked = list_enrolment_tokens.sync(client=admin, revoked=True)
    assert row in [token.id for token in revoked.results]
    with stack.client(issued.token) as own:
        assert enrol_agent.sync_detailed(client=own, body=request).status_code == 401
    delete_agent.sync_detailed("guest", client=admin)
    delete_engine.sync_detailed("guests", client=admin)
