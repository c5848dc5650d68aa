"""Users, tokens, agents, and agents' answers for the control plane's tests."""

from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from controlplane.accounts.models import User, UserRole
from controlplane.accounts.services import create_token
from controlplane.audit import services as audit_services
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.limiter import DenialLimiter
from controlplane.fleet.models import Agent, Dialect
from controlplane.fleet.services import AgentSpec, register_agent
from controlplane.forwarding import AgentClient, client
from engine.contract import Role
from tests.controlplane.simulation import SimulatedFleet
from tests.controlplane.wire import FakeAgents, reply
from tests.support.simulated_agent import SimulatedAgent

ACTOR = Actor(ActorKind.COMMAND, "tests", "command:tests", "127.0.0.1")
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def _fast_and_forgetful(settings, monkeypatch) -> Iterator[None]:
    """A cheap password hash, and no memory of throttles from test to test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()
    limiter = DenialLimiter(per_source=10, overall=600, window_s=60.0, sources=1024)
    monkeypatch.setattr(audit_services, "_denials", limiter)
    yield
    cache.clear()


@pytest.fixture
def make_user(db) -> Callable[..., User]:
    def make(role: UserRole, username: str = "") -> User:
        return User.objects.create_user(username or role.value, password=PASSWORD, role=role)

    return make


@pytest.fixture
def make_token(db) -> Callable[..., str]:
    def make(user: User, role: UserRole | None = None, name: str = "tests") -> str:
        issued = create_token(
            user=user,
            name=name,
            role=role or user.access_role,
            expires_at=None,
            granted_by=UserRole.ADMIN,
            actor=ACTOR,
            request_id="setup",
        )
        return issued.plaintext

    return make


@pytest.fixture
def api_as(make_user, make_token) -> Callable[[UserRole], APIClient]:
    """A client that sends a token of a user with that role."""

    def make(role: UserRole) -> APIClient:
        user = User.objects.filter(username=role.value).first() or make_user(role)
        api = APIClient(raise_request_exception=False)
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
        return api

    return make


@pytest.fixture
def viewer_api(api_as) -> APIClient:
    return api_as(UserRole.VIEWER)


@pytest.fixture
def operator_api(api_as) -> APIClient:
    return api_as(UserRole.OPERATOR)


@pytest.fixture
def admin_api(api_as) -> APIClient:
    return api_as(UserRole.ADMIN)


@pytest.fixture
def make_agent(db) -> Callable[..., Agent]:
    def make(
        name: str = "worker-0",
        role: Role = Role.WORKER,
        url: str = "http://127.0.0.1:7000",
        token: str = "agent-secret-1",
        dialect: Dialect = Dialect.KVPLANE,
        worker_id: int | None = 0,
        engine: str = "engine-a",
    ) -> Agent:
        spec = AgentSpec(
            name=name,
            url=url,
            role=role,
            worker_id=worker_id if role is Role.WORKER else None,
            engine=engine,
            dialect=dialect,
            token=token,
        )
        return register_agent(spec, actor=ACTOR, request_id="setup").agent

    return make


@pytest.fixture
def agents(monkeypatch) -> FakeAgents:
    """Every agent answers `{"status": "success"}` unless the test says otherwise."""
    fake = FakeAgents(lambda request: reply({"status": "success"}))
    fake_client = AgentClient(fake, max_answer_bytes=1 << 20)
    monkeypatch.setattr(client, "shared_client", lambda: fake_client)
    return fake


@pytest.fixture
def fleet(agents, make_agent) -> Callable[..., tuple[Agent, SimulatedAgent]]:
    """Makes agents that keep what they are told; call the fixture for each."""
    simulated = SimulatedFleet()
    agents.respond = simulated

    def make(name: str = "worker-0", **options) -> tuple[Agent, SimulatedAgent]:
        number = len(simulated.agents)
        agent = make_agent(
            name, url=f"http://127.0.0.1:{7000 + number}", worker_id=number, **options
        )
        simulated.agents[agent.url] = SimulatedAgent(role=agent.role, name=name)
        return agent, simulated.agents[agent.url]

    return make
