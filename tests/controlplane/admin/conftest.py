"""A browser of somebody with a role, and something of everything to look at."""

from collections.abc import Callable

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from controlplane.accounts.models import User, UserRole
from controlplane.audit.authorship import Authorship
from controlplane.audit.models import ForwardingCursor
from controlplane.configuration.models import Source
from controlplane.configuration.services import Observed, import_observed, remember_schema
from controlplane.fleet.models import Agent
from controlplane.fleet.services import create_enrolment_token
from controlplane.operations.services import perform
from controlplane.reconcile.models import Controller, Watch
from controlplane.statistics.models import Trigger
from controlplane.statistics.services import Asked, record_sample
from engine.contract import endpoint

from ..conftest import ACTOR
from ..statistics.tier_samples import TOLD, record_tiers

COUNTED = {"is_collecting": True, "timestamp": 1.0, "total_chunks": 2, "unique_chunks": 1}


@pytest.fixture
def page_as(make_user) -> Callable[[UserRole], Client]:
    def make(role: UserRole) -> Client:
        client = Client()
        user = User.objects.filter(username=role.value).first() or make_user(role)
        client.force_login(user)
        return client

    return make


@pytest.fixture
def populate(agents, make_agent, make_user, make_token) -> Callable[[int], list[Agent]]:
    """Adds so many rows of everything, each with its own agent."""
    made: list[Agent] = []

    def more(count: int) -> list[Agent]:
        for _ in range(count):
            made.append(_one_of_everything(len(made), make_agent, make_user, make_token))
        return made

    return more


def _one_of_everything(number: int, make_agent, make_user, make_token) -> Agent:
    agent = make_agent(f"worker-{number}", worker_id=number, engine=f"engine-{number}")
    perform(
        endpoint("enable_freeze"),
        [agent],
        query="",
        body=None,
        actor=ACTOR,
        reason="maintenance",
        request_id=f"setup-{number}",
        timeout=5,
    )
    Watch.objects.create(agent=agent)
    asked = Asked(timezone.now(), timezone.now())
    record_sample(agent, COUNTED, {}, "boot", Trigger.MANUAL, asked)
    record_tiers(agent, TOLD, asked)
    now = timezone.now()
    Controller.objects.create(name=f"host:{number}:x", started_at=now, seen_at=now, alive_until=now)
    with transaction.atomic():
        observed = Observed({"a": 1}, {})
        import_observed(agent.name, observed, Source.IMPORT, Authorship(ACTOR, "", "setup", None))
        remember_schema(agent.name, {"a": {"type": "int"}})
    create_enrolment_token(name=f"rack {number}", expires_at=None, actor=ACTOR, request_id="setup")
    make_token(make_user(UserRole.OPERATOR, f"user-{number}"))
    ForwardingCursor.objects.create(name=f"sink-{number}", last_id=1)
    return agent
