"""Every documented endpoint has a command, which sends the same call and leaves the same
audit trail as the API."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import RawAnswer
from engine.contract import CATALOGUE, Endpoint, Role
from tests.controlplane.commands.running import run_json
from tests.support.every_command import arguments_of, command_of, verbs

pytestmark = pytest.mark.django_db
_SAME = ("stage", "action", "target", "agent", "engine", "outcome", "status", "reason")


def query_of(endpoint: Endpoint) -> dict[str, str]:
    return {p.name: p.example for p in endpoint.parameters if p.name != "dryrun"}


def test_catalogue__every_endpoint__has_a_command():
    reachable = {name for _, verb in verbs() for name in verb.operation_ids}

    assert reachable == {entry.operation_id for entry in CATALOGUE}


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=lambda entry: entry.operation_id)
def test_command__of_an_endpoint__sends_and_records_what_the_api_does(
    endpoint, operator_api, agents, fleet
):
    role = Role.SCHEDULER if Role.SCHEDULER in endpoint.component.default_roles[:1] else Role.WORKER
    agent, simulated = fleet("one", role=role)
    simulated.statistics = {"is_collecting": True, "total_chunks": 1}
    if endpoint.media_type == "text/plain":
        agents.respond = lambda request: plain("0.1.0")
    call = getattr(operator_api, endpoint.method.lower())
    query = "&".join(f"{name}={value}" for name, value in query_of(endpoint).items())
    answer = call(
        f"/agents/one{endpoint.path}?{query}",
        data=endpoint.body_example,
        format="json",
        headers={"x-kvplane-reason": "tried"},
    )
    by_api, trail_of_api = sent(agents, endpoint), trail()
    simulated.bypassed.clear()

    changes = endpoint.action is not None
    finished = run_json(
        *command_of(endpoint),
        *arguments_of(endpoint, query_of(endpoint), endpoint.body_example),
        *("--agent", agent.name),
        *(("--reason", "tried") if changes else ()),
    )

    assert len(by_api) == 1
    assert sent(agents, endpoint)[1:] == by_api
    (target,) = finished.document["targets"]
    assert target["status"] == answer.status_code
    assert (finished.exit == 0) == (answer.status_code == 200)
    assert [entry["mine"] for entry in trail()[len(trail_of_api) :]] == [
        entry["mine"] for entry in trail_of_api
    ]
    assert len(trail_of_api) == (2 if changes else 0)
    kinds = [entry["kind"] for entry in trail()]
    assert kinds == ["token", "token", "command", "command"][: len(kinds)]


def plain(text: str):
    return RawAnswer(200, "text/plain", text.encode())


def sent(agents, endpoint) -> list[tuple[object, object]]:
    """The calls of the endpoint as they were made: parameters and body by what they mean."""
    asked = [(urlsplit(request.target), request) for request in agents.requests]
    return [
        (parse_qs(parts.query), json.loads(request.body) if request.body else None)
        for parts, request in asked
        if (request.method, parts.path) == (endpoint.method, endpoint.path)
    ]


def trail() -> list[dict[str, object]]:
    """What the log has of the operations, but for who and which."""
    entries = AuditEntry.objects.exclude(operation_id=None).order_by("id")
    return [
        {
            "kind": entry.actor_kind,
            "mine": {
                **{name: getattr(entry, name) for name in _SAME},
                "request": entry.request,
                "answer": entry.answer,
            },
        }
        for entry in entries
    ]
