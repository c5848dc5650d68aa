"""Reads through the admin are on record as the policy wants, like those of the API."""

import pytest
from django.contrib.admin import site

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.operations.models import Operation
from controlplane.resources import OWN_RESOURCES

from .test_registered import MODELS, by_label, url

pytestmark = pytest.mark.django_db
GROUPS = {
    "accounts.ApiToken": "tokens",
    "accounts.User": "users",
    "audit.AuditEntry": "audit",
    "audit.ForwardingCursor": "audit",
    "configuration.ConfigRevision": "config-revisions",
    "configuration.ConfigSchema": "config-revisions",
    "fleet.Agent": "agents",
    "fleet.Engine": "engines",
    "fleet.EnrolmentToken": "enrolment-tokens",
    "modes.DesiredMode": "modes",
    "modes.ModeChange": "mode-changes",
    "operations.Operation": "operations",
    "operations.OperationTarget": "operations",
    "reconcile.Controller": "controllers",
    "reconcile.Watch": "watches",
    "statistics.ChunkStatisticsSnapshot": "chunk-statistics",
    "statistics.TierStatisticsSnapshot": "tier-statistics",
}


def read_paths() -> list[str]:
    entries = AuditEntry.objects.filter(action="request.read").order_by("id")
    return [entry.request["path"] for entry in entries]


def test_groups__each_model__has_one_that_a_policy_can_name():
    assert {model._meta.label for model in MODELS} == set(GROUPS)
    assert set(GROUPS.values()) <= OWN_RESOURCES
    for model in MODELS:
        assert site.get_model_admin(model).reads == GROUPS[model._meta.label]


@by_label
def test_pages__policy_wants_their_group__are_on_record(page_as, populate, settings, model):
    populate(1)
    client = page_as(UserRole.ADMIN)
    record = model._default_manager.first()
    paths = [
        url(model, "changelist"),
        *(url(model, one, record.pk) for one in ("change", "history")),
    ]
    settings.KVPLANE_AUDIT_READS = {GROUPS[model._meta.label]: ReadPolicy.METADATA}

    for path in paths:
        assert client.get(path).status_code == 200

    assert read_paths() == paths
    entry = AuditEntry.objects.filter(action="request.read").first()
    assert (entry.actor_name, entry.outcome, entry.status) == ("admin", "succeeded", 200)


@by_label
def test_pages__policy_wants_another_group__are_not_on_record(page_as, populate, settings, model):
    populate(1)
    client = page_as(UserRole.ADMIN)
    own = GROUPS[model._meta.label]
    settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.METADATA, own: ReadPolicy.OFF}

    client.get(url(model, "changelist"))

    assert read_paths() == []


@pytest.mark.parametrize("name", ["calls", "delete", "named"])
def test_pages_of_an_agent__all_of_them__are_on_record(page_as, populate, settings, name):
    (agent,) = populate(1)
    path = url(Agent, name, agent.name if name == "named" else agent.pk)
    settings.KVPLANE_AUDIT_READS = {"agents": ReadPolicy.METADATA}

    assert page_as(UserRole.ADMIN).get(path).status_code == (302 if name == "named" else 200)

    assert read_paths() == [path]


@pytest.mark.parametrize(
    ("model", "name"), [(Agent, "freeze"), (ConfigRevision, "roll_back"), (Operation, "roll_back")]
)
def test_confirm__page_that_asks_back__is_on_record(page_as, populate, settings, model, name):
    populate(1)
    path = url(model, "confirm", name)
    settings.KVPLANE_AUDIT_READS = {GROUPS[model._meta.label]: ReadPolicy.METADATA}
    key = model._default_manager.first().pk

    assert page_as(UserRole.OPERATOR).get(path, {"key": key}).status_code == 200

    assert read_paths() == [path]


def test_change__policy_of_reads__does_not_take_it_for_one(page_as, populate, settings):
    (agent,) = populate(1)
    settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.METADATA}

    page_as(UserRole.ADMIN).post(url(Agent, "delete", agent.pk), {"post": "yes"})

    assert read_paths() == []
    assert AuditEntry.objects.filter(action="agent.remove", agent=agent.name).exists()
