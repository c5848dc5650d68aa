"""Browsers of people with a role, and a fleet that told something about itself."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from controlplane.accounts.models import UserRole
from controlplane.audit.authorship import Authorship
from controlplane.configuration.models import Source
from controlplane.configuration.services import Observed, import_observed
from controlplane.fleet.models import Agent, Health
from controlplane.operations.runner import Runner
from controlplane.reconcile.models import Watch

from ..conftest import ACTOR

BY = Authorship(ACTOR, "", "setup", None)
STATUS = {
    "versions": {"kvplane": "0.1.0"},
    "conf_hash": "h1",
    "freeze": False,
    "hot_cache": True,
    "bypassed_backends": [],
    "storage": {"LocalCPUBackend": {"capacity_bytes": 1 << 30, "used_bytes": 1 << 29, "chunks": 7}},
    "counters": {"lookup_served_hit_chunks": 750, "lookup_served_chunks": 1000},
}


@pytest.fixture
def browser_as(make_user) -> Callable[[UserRole], Client]:
    """A browser that is logged in as a user with that role."""

    def make(role: UserRole) -> Client:
        client = Client()
        client.force_login(make_user(role))
        return client

    return make


@pytest.fixture
def viewer(browser_as) -> Client:
    return browser_as(UserRole.VIEWER)


@pytest.fixture
def operator(browser_as) -> Client:
    return browser_as(UserRole.OPERATOR)


@pytest.fixture
def admin(browser_as) -> Client:
    return browser_as(UserRole.ADMIN)


@pytest.fixture
def seen() -> Callable[..., Agent]:
    """Gives an agent what the control loop keeps: its status, a revision, its notes."""

    def see(agent: Agent, *, said: dict[str, object] | None = None, **watch) -> Agent:
        agent.last_status = {**STATUS, **(said or {})}
        agent.last_seen_at = timezone.now() - timedelta(seconds=3)
        agent.health = Health.ONLINE
        agent.save()
        observed = Observed({"model_name": "org/tiny-model"}, {})
        with transaction.atomic():
            import_observed(agent.name, observed, Source.IMPORT, BY)
        Watch.objects.update_or_create(
            agent=agent, defaults={"verified_hash": "h1", "verified_revision": 1, **watch}
        )
        return agent

    return see


@pytest.fixture
def runner(monkeypatch) -> Runner:
    """The threads that carry operations out, ended with the test."""
    from controlplane.dashboard.views import agent, fleet, fleet_settings, lookup, operations

    own = Runner()
    for module in (agent, fleet, fleet_settings, lookup, operations):
        monkeypatch.setattr(module, "shared_runner", lambda: own)
    yield own
    own.close()
