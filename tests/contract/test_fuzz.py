"""Whatever is asked in the shape of the documents, or nearly so: the answer is one
that the documents describe.

Both OpenAPI documents come from the servers that are asked. The requests are the
same in every run.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.conftest import AGENT_TOKEN, INSTANCE, agent_environment
from tests.support.controlplane import PASSWORD, prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, manage, running

pytestmark = pytest.mark.slow

AGENTS = ("worker", "worker", "scheduler")
ANSWER_SECONDS = 10
HONEST_SERVER_ERRORS = (501, 502, 503, 504)
"""An agent lacks what was asked for, cannot be reached, or does not answer."""
SHOWN = 5
"""How many wrong answers a failure quotes."""
CONFIG = schemathesis.Config.from_dict(
    {"request-timeout": ANSWER_SECONDS, "generation": {"with-security-parameters": False}}
)
RANDOMLY = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""For each operation, besides the requests that go through the bounds of its parameters."""
ONE_ROUND = "from controlplane.reconcile.loop import ControlLoop; ControlLoop().go_round()"
SPARES: dict[str, dict[str, object]] = {
    "users": {"username": "spare", "password": PASSWORD, "role": "viewer"},
    "tokens": {"name": "spare", "role": "viewer"},
    "engines": {"name": "spare"},
    # Nothing listens at the discard port.
    "agents": {
        "name": "spare",
        "engine": "spares",
        "role": "worker",
        "worker_id": 0,
        "url": "http://127.0.0.1:9",
    },
    "enrolment-tokens": {"name": "spare"},
}
"""What to make a row of a resource of, for requests that change or delete it."""

Ask = Callable[[schemathesis.Case, int], int]


@dataclass
class Fleet:
    """A control plane, and a worker and a scheduler that it knows."""

    urls: dict[str, str]
    client: httpx.Client
    enrolment_token: str
    own: frozenset[str]
    conf_keys: list[str]
    session: requests.Session
    spares: dict[str, str] = field(default_factory=dict)

    def ask_agent(self, case: schemathesis.Case, number: int) -> int:
        """Send the case to an agent and check the answer; its status."""
        self._name_known_keys(case, number)
        return check(case, self.session, bearer(AGENT_TOKEN))

    def ask_controlplane(self, case: schemathesis.Case, number: int) -> int:
        """Send the case to the control plane and check the answer; its status.

        Three out of four cases name what exists; none names what the fuzz
        itself stands on.
        """
        path = case.operation.path
        headers = {"Authorization": self.client.headers["Authorization"]}
        agent = AGENTS[number % len(AGENTS)]
        named = number % 4 > 0
        if path == "/api/v1/enrol/":
            headers = bearer(self.enrolment_token)
        elif path == "/api/v1/agents/{name}/probe/":
            self._put_into_path(case, agent)
        elif path.startswith("/api/"):
            if "{" in path and (named or self._is_own(case)):
                self._put_into_path(case, self._spare(path.split("/")[3]))
        elif "{" in path:
            if named:
                self._put_into_path(case, agent)
        elif named:
            target = {"agent": agent, "engine": INSTANCE}
            case.query = {name: target.get(name, given) for name, given in case.query.items()}
            headers["X-KVPlane-Agent"] = agent
        self._name_known_keys(case, number)
        return check(case, self.session, headers)

    def _put_into_path(self, case: schemathesis.Case, value: str) -> None:
        name = case.operation.path.partition("{")[2].partition("}")[0]
        case.path_parameters = {**case.path_parameters, name: value}

    def _is_own(self, case: schemathesis.Case) -> bool:
        return any(str(value).lstrip("0") in self.own for value in case.path_parameters.values())

    def _spare(self, resource: str) -> str:
        """What names a row of that resource which may be changed or deleted."""
        known = self.spares.get(resource)
        rows = f"/api/v1/{resource}/"
        if known is not None and self.client.get(f"{rows}{known}/").status_code == 200:
            return known
        if resource in SPARES:
            made = self.client.post(rows, json=SPARES[resource]).raise_for_status().json()
            row = made.get("details", made)
        else:
            row = self.client.get(rows).json()["results"][0]
        key = next(name for name in ("id", "name", "agent") if name in row)
        self.spares[resource] = str(row[key])
        return self.spares[resource]

    def _name_known_keys(self, case: schemathesis.Case, number: int) -> None:
        """Every other change of the configuration is of keys that exist."""
        if case.operation.path.endswith("/conf") and isinstance(case.body, dict) and number % 2:
            first = 7 * number
            case.body = {
                self.conf_keys[(first + place) % len(self.conf_keys)]: value
                for place, value in enumerate(case.body.values())
            }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fuzzed")
    port = free_ports(3)
    urls = {
        name: f"http://127.0.0.1:{port + offset}"
        for offset, name in enumerate(("scheduler", "worker", "controlplane"))
    }
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"), KVPLANE_AGENT_TIMEOUT="2"
    )
    token = prepare(environment, "fuzzer", "admin")
    with (
        running(
            [sys.executable, "-m", "engine"],
            agent_environment(port),
            directory / "agent.log",
            [f"{urls['scheduler']}/health", f"{urls['worker']}/health"],
        ),
        running(
            serve_command(port + 2),
            environment,
            directory / "controlplane.log",
            [f"{urls['controlplane']}/health"],
        ),
        httpx.Client(
            base_url=urls["controlplane"],
            headers=bearer(token),
            timeout=ANSWER_SECONDS,
            trust_env=False,
        ) as client,
        requests.Session() as session,
    ):
        session.trust_env = False
        for name, worker_id in (("scheduler", None), ("worker", 0)):
            register(
                environment,
                name,
                urls[name],
                engine=INSTANCE,
                worker_id=worker_id,
                token=AGENT_TOKEN,
            )
        client.put("/agents/worker/freeze/disable").raise_for_status()
        client.post("/agents/worker/conf", json={"min_retrieve_tokens": 1}).raise_for_status()
        client.post(
            "/agents/scheduler/conf", json={"enable_chunk_statistics": True}
        ).raise_for_status()
        for path in ("lookup/recreate", "chunk_statistics/start"):
            client.post(f"/agents/scheduler/{path}").raise_for_status()
        # One round, so that there is something to read about the control loop.
        manage(environment, "shell", "-c", ONE_ROUND)
        enrolment = client.post("/api/v1/enrolment-tokens/", json={"name": "fuzz"}).json()
        yield Fleet(
            urls,
            client,
            enrolment["token"],
            # User, token and enrolment token are the first of their kind.
            frozenset({"1", INSTANCE, *AGENTS}),
            list(client.get("/agents/worker/conf/schema").json()["keys"]),
            session,
        )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def errors_are_honest(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """No 5xx but those of the contract, and every error is JSON that says why."""
    status = response.status_code
    assert status < 500 or status in HONEST_SERVER_ERRORS, f"status {status}"
    if status < 400 or case.method == "HEAD":
        return
    document = response.json()
    # A partly refused change of the configuration says why key by key.
    if "updated" not in document:
        assert isinstance(document["error"], str)
        assert isinstance(document["message"], str)


def check(case: schemathesis.Case, session: requests.Session, headers: dict[str, str]) -> int:
    """The status of the answer, which is as the document has it. Documents do not
    describe the answers to methods that a path does not serve."""
    checks = [errors_are_honest]
    if case.method == case.operation.method.upper():
        checks += [status_code_conformance, content_type_conformance, response_schema_conformance]
    answer = case.call_and_validate(session=session, headers=headers, checks=checks)
    return answer.status_code


def fuzz(url: str, document: dict[str, Any], ask: Ask, subtests: pytest.Subtests) -> Counter[int]:
    """Ask for every operation of the document; how often each status came back.

    `ask` takes a case and a number by which it may vary the case.
    """
    schema = schemathesis.openapi.from_dict(document, config=CONFIG)
    schema.config.update(base_url=url)
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        with subtests.test(operation=operation.label):
            wrong = fuzz_operation(schema, operation, ask, statuses)
            assert not wrong, f"{len(wrong)} wrong answers:\n" + "\n".join(wrong[:SHOWN])
    return statuses


def fuzz_operation(
    schema: schemathesis.BaseSchema,
    operation: schemathesis.APIOperation,
    ask: Ask,
    statuses: Counter[int],
) -> list[str]:
    """Why answers were wrong; counts the status of the others."""
    wrong: list[str] = []

    def attempt(case: schemathesis.Case, number: int) -> None:
        # What failed once may pass when repeated, which Hypothesis takes for a
        # fault of the test: it is not shown failures.
        try:
            statuses[ask(case, number)] += 1
        except FailureGroup as group:
            wrong.extend(str(failure) for failure in group.exceptions)
            wrong.append(case.as_curl_command())

    modes = list(schemathesis.GenerationMode)
    bounds = schema.iter_coverage_cases(
        operation, generation_modes=modes, generation_config=schema.config.generation
    )
    for number, case in enumerate(bounds):
        attempt(case, number)
    random = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))
    RANDOMLY(given(random, st.integers(0, 11))(attempt))()
    return wrong


@pytest.mark.parametrize("name", ["worker", "scheduler"])
def test_agent__fuzzed__answers_as_documented(
    fleet: Fleet, name: str, subtests: pytest.Subtests
) -> None:
    url = fleet.urls[name]
    document = httpx.get(f"{url}/openapi.json", headers=bearer(AGENT_TOKEN), trust_env=False)
    statuses = fuzz(url, document.json(), fleet.ask_agent, subtests)
    assert 200 in statuses
    assert 401 not in statuses


def test_controlplane__fuzzed__answers_as_documented(
    fleet: Fleet, subtests: pytest.Subtests
) -> None:
    accept = {"Accept": "application/vnd.oai.openapi+json"}
    document = fleet.client.get("/api/schema/", headers=accept).json()
    statuses = fuzz(fleet.urls["controlplane"], document, fleet.ask_controlplane, subtests)
    assert {200, 201, 204, 400, 404} <= set(statuses)
    # Else the fuzz has locked itself out, and the rest of it was for nothing.
    assert fleet.client.get("/agents/worker/version").status_code == 200
    assert fleet.client.get("/api/v1/users/").status_code == 200
