"""No list may come to need more queries than it needs now.

The baselines are in query_counts.json, authentication included. A change that
needs fewer is to be written there too.
"""

import json
import uuid
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from controlplane.accounts.models import ApiToken
from controlplane.audit.authorship import Authorship
from controlplane.configuration.models import Source
from controlplane.configuration.services import Observed, import_observed
from controlplane.fleet.services import create_enrolment_token
from controlplane.operations.models import Operation
from controlplane.operations.services import perform
from controlplane.reconcile.models import Controller, Watch
from controlplane.statistics.models import Trigger
from controlplane.statistics.services import Asked, record_sample
from engine.contract import endpoint

from .conftest import ACTOR
from .statistics.tier_samples import TOLD, record_tiers

NOBODY = uuid.UUID(int=0)
BY = Authorship(ACTOR, "", "setup", None)
COUNTED = {
    "is_collecting": True,
    "timestamp": 1.0,
    "total_chunks": 2,
    "unique_chunks": 1,
}
BASELINES: dict[str, int] = json.loads(
    Path(__file__).with_name("query_counts.json").read_text("utf-8")
)


@pytest.fixture
def populated(agents, make_agent) -> None:
    """Several rows of everything that is listed."""
    asked = Asked(timezone.now(), timezone.now())
    for number in range(4):
        agent = make_agent(f"worker-{number}", worker_id=number)
        perform(
            endpoint("enable_freeze"),
            [agent],
            query="",
            body=None,
            actor=ACTOR,
            reason="",
            request_id="setup",
            timeout=5,
        )
        Watch.objects.create(agent=agent)
        record_sample(agent, COUNTED, {}, "boot", Trigger.MANUAL, asked)
        record_tiers(agent, TOLD, asked)
        Controller.objects.create(
            name=f"host:{number}:x",
            started_at=timezone.now(),
            seen_at=timezone.now(),
            alive_until=timezone.now(),
        )
        with transaction.atomic():
            import_observed(agent.name, Observed({"a": 1}, {}), Source.IMPORT, BY)
        create_enrolment_token(
            name=f"rack {number}", expires_at=None, actor=ACTOR, request_id="setup"
        )


@pytest.mark.django_db
@pytest.mark.parametrize("path", sorted(BASELINES))
def test_list__queries__are_as_many_as_the_baseline(admin_api, populated, path):
    ApiToken.objects.update(last_used_at=timezone.now())
    baseline = BASELINES[path]

    path = path.format(operation=Operation.objects.latest("created_at").pk)

    with CaptureQueriesContext(connection) as captured:
        response = admin_api.get(path)

    assert response.status_code == 200
    assert response.json()["results"]
    assert len(captured) == baseline, [query["sql"] for query in captured]


def test_baselines__every_list_of_the_api__has_one():
    (api,) = (part for part in get_resolver().url_patterns if str(part.pattern) == "api/")
    listed = {
        _path_of(entry)
        for resolver in api.url_patterns
        if isinstance(resolver, URLResolver) and str(resolver.pattern) == "v1/"
        for entry in resolver.url_patterns
        if (entry.name or "").endswith("-list")
    }

    assert listed == set(BASELINES)


def _path_of(entry: URLPattern) -> str:
    """With the names of what it is a part of in braces."""
    names = list(entry.pattern.regex.groupindex)
    # A path is made with what fits; the names are put in afterwards.
    path = reverse(entry.name, kwargs=dict.fromkeys(names, str(NOBODY)))
    for name in names:
        path = path.replace(str(NOBODY), f"{{{name}}}", 1)
    return path.rstrip("/") + "/"
