"""What the control plane keeps, through the generated client: revisions, modes, chunk
statistics, the audit log, and the notes of the control loop."""

import json
from collections.abc import Iterator
from typing import TypeVar
from uuid import UUID

import pytest
from kvplane_client import AuthenticatedClient
from kvplane_client.api.audit import (
    export_audit_entries,
    get_audit_entry,
    get_audit_verification,
    list_audit_entries,
    verify_audit,
)
from kvplane_client.api.chunk_statistics import (
    export_chunk_statistics,
    get_chunk_statistics_series,
    get_chunk_statistics_snapshot,
    list_chunk_statistics_snapshots,
    sample_chunk_statistics,
    start_chunk_statistics_of_agent,
)
from kvplane_client.api.conf import update_conf_of_agent
from kvplane_client.api.config_revisions import (
    diff_config_revision,
    get_config_revision,
    list_config_revisions,
    preview_rollback,
    roll_back,
)
from kvplane_client.api.controllers import get_controller, list_controllers
from kvplane_client.api.freeze import disable_freeze_of_agent, enable_freeze_of_agent
from kvplane_client.api.lookup import recreate_lookup_of_agent
from kvplane_client.api.mode_changes import get_mode_change, list_mode_changes
from kvplane_client.api.modes import get_mode, list_modes
from kvplane_client.api.tier_statistics import (
    export_tier_statistics,
    get_tier_statistics_series,
    get_tier_statistics_snapshot,
    list_tier_statistics_snapshots,
)
from kvplane_client.api.watches import get_watch, list_watches, retry_repair, update_watch
from kvplane_client.models import (
    ConfigRevision,
    Conflict,
    ConfUpdated,
    ConfValues,
    Error,
    PatchedWatchChangesRequest,
    RollbackRequest,
    SampleRequest,
)

from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

Found = TypeVar("Found")
AGENT = "smollm2-worker-0"
WAIT_S = 30.0


def values(**settings: object) -> ConfValues:
    return ConfValues.from_dict(settings)


def active(client: AuthenticatedClient) -> ConfigRevision:
    (revision,) = list_config_revisions.sync(client=client, agent=AGENT, state="active").results
    return revision


@pytest.fixture
def changed(operator: AuthenticatedClient) -> Iterator[ConfigRevision]:
    """The revision after a change of `min_retrieve_tokens`, whatever it was before."""
    for value in (0, 5):
        body = values(min_retrieve_tokens=value)
        update_conf_of_agent.sync(AGENT, client=operator, body=body, reason="first")
    yield active(operator)
    update_conf_of_agent.sync(AGENT, client=operator, body=values(min_retrieve_tokens=0))


def test_revision__of_a_change__shown_and_rolled_back(
    operator: AuthenticatedClient, changed: ConfigRevision
) -> None:
    assert changed.diff["min_retrieve_tokens"].from_ == 0
    assert changed.diff["min_retrieve_tokens"].to == 5
    full = get_config_revision.sync(changed.id, client=operator)
    assert full.values["min_retrieve_tokens"] == 5
    assert diff_config_revision.sync(changed.id, client=operator).diff == changed.diff

    (before,) = list_config_revisions.sync(
        client=operator, agent=AGENT, number=changed.parent
    ).results
    preview = preview_rollback.sync(before.id, client=operator)
    assert preview.changes["min_retrieve_tokens"].to == 0
    made = roll_back.sync(
        before.id,
        client=operator,
        body=RollbackRequest(expected_revision=changed.number, reason="it was worse"),
    )
    assert (made.source, made.restored_from) == ("rollback", before.number)
    again = roll_back.sync(before.id, client=operator, body=RollbackRequest())
    assert isinstance(again, Conflict)
    assert again.error == "Nothing to restore"


def test_revision__writer_knew_an_older_one__conflict_tells_the_difference(
    operator: AuthenticatedClient, changed: ConfigRevision
) -> None:
    refused = update_conf_of_agent.sync(
        AGENT,
        client=operator,
        body=values(min_retrieve_tokens=7),
        expected_revision=changed.parent,
    )
    assert isinstance(refused, Conflict)
    assert (refused.expected, refused.active) == (changed.parent, changed.number)
    assert refused.diff["min_retrieve_tokens"].to == 5


def test_conf__partly_refused__answer_has_what_was_set_and_why_not(
    operator: AuthenticatedClient,
) -> None:
    body = values(min_retrieve_tokens=1, chunk_size=32, no_such_key=1)
    answer = update_conf_of_agent.sync_detailed(AGENT, client=operator, body=body)
    assert answer.status_code == 400
    assert isinstance(answer.parsed, ConfUpdated)
    assert answer.parsed.updated.to_dict() == {"min_retrieve_tokens": 1}
    assert set(answer.parsed.errors.to_dict()) == {"chunk_size", "no_such_key"}
    update_conf_of_agent.sync(AGENT, client=operator, body=values(min_retrieve_tokens=0))


def test_mode__enabled_for_a_while__desired_with_its_reason_and_its_end(
    operator: AuthenticatedClient,
) -> None:
    reason = "while the disk is replaced"
    answer = enable_freeze_of_agent.sync_detailed(
        AGENT, client=operator, reason=reason, expires_in_s=900.0
    )
    operation = UUID(answer.headers["X-KVPlane-Operation"])
    (mode,) = list_modes.sync(client=operator, agent=AGENT, mode="freeze", temporary=True).results
    assert (mode.value, mode.revert_to, mode.reason) == (True, False, reason)
    assert get_mode.sync(mode.id, client=operator).expires_at == mode.expires_at

    (change,) = list_mode_changes.sync(client=operator, operation=operation).results
    assert (change.state, change.to_value, change.actor_name) == (
        "applied",
        True,
        "some-operator/of the operator",
    )
    assert get_mode_change.sync(change.id, client=operator) == change
    assert disable_freeze_of_agent.sync(AGENT, client=operator).freeze is False


def test_audit__read_exported_and_verified__is_what_was_written(
    admin: AuthenticatedClient,
) -> None:
    answer = disable_freeze_of_agent.sync_detailed(AGENT, client=admin, reason="audited")
    operation = UUID(answer.headers["X-KVPlane-Operation"])
    requested, completed = list_audit_entries.sync(
        client=admin, operation=operation, ordering="id"
    ).results
    assert (requested.stage, completed.stage, completed.status) == ("requested", "completed", 200)
    assert get_audit_entry.sync(completed.id, client=admin).mac == completed.mac
    assert "operation" in completed.links
    assert list_audit_entries.sync(client=admin, status=200, operation=operation).results

    exported = export_audit_entries.sync(client=admin, operation=operation)
    assert [json.loads(line)["id"] for line in exported.splitlines()] == [
        requested.id,
        completed.id,
    ]
    table = export_audit_entries.sync(client=admin, operation=operation, format_="csv")
    assert len(table.splitlines()) == 3

    verified = verify_audit.sync(client=admin)
    assert verified.ok
    assert verified.problem is None
    latest = get_audit_verification.sync(client=admin)
    assert (latest.checked_by, latest.result.ok) == ("ada/test", True)


def test_watch__of_an_agent__shows_and_takes_a_policy(operator: AuthenticatedClient) -> None:
    watch = eventually(
        lambda: next(iter(list_watches.sync(client=operator, agent=AGENT).results), None)
    )
    assert (watch.policy, watch.own_policy) == ("enforce", False)
    reported = update_watch.sync(
        AGENT, client=operator, body=PatchedWatchChangesRequest(policy="report")
    )
    assert (reported.policy, reported.own_policy) == ("report", True)
    update_watch.sync(AGENT, client=operator, body=PatchedWatchChangesRequest(policy=None))
    assert get_watch.sync(AGENT, client=operator).own_policy is False
    assert retry_repair.sync(AGENT, client=operator).attempts == 0
    assert isinstance(get_watch.sync("no-such-agent", client=operator), Error)


def test_controller__that_runs__holds_the_agents(viewer: AuthenticatedClient) -> None:
    controller = eventually(
        lambda: next(
            (found for found in list_controllers.sync(client=viewer).results if found.agents), None
        )
    )
    assert get_controller.sync(controller.id, client=viewer).name == controller.name


def test_chunk_statistics__sampled__in_list_series_and_export(
    operator: AuthenticatedClient,
) -> None:
    scheduler = "smollm2-scheduler"
    recreate_lookup_of_agent.sync(scheduler, client=operator)
    start_chunk_statistics_of_agent.sync(scheduler, client=operator)
    sample = sample_chunk_statistics.sync(client=operator, body=SampleRequest(agent=scheduler))
    assert (sample.agent, sample.trigger) == (scheduler, "manual")
    assert get_chunk_statistics_snapshot.sync(sample.id, client=operator) == sample
    listed = list_chunk_statistics_snapshots.sync(client=operator, agent=scheduler)
    assert sample.id in [snapshot.id for snapshot in listed.results]
    buckets = get_chunk_statistics_series.sync(client=operator, agent=scheduler, bucket=3600)
    assert sum(bucket.samples for bucket in buckets) >= 1
    table = export_chunk_statistics.sync(client=operator, agent=scheduler)
    assert table.startswith("id,agent,engine,")

    refused = sample_chunk_statistics.sync(client=operator, body=SampleRequest(agent=AGENT))
    assert isinstance(refused, Conflict)
    assert refused.error == "No chunk statistics"


def test_tier_statistics__kept_by_the_control_loop__in_list_series_and_export(
    viewer: AuthenticatedClient,
) -> None:
    snapshot = eventually(
        lambda: next(
            iter(list_tier_statistics_snapshots.sync(client=viewer, agent=AGENT).results), None
        )
    )
    assert snapshot.tiers["LocalCPUBackend"].capacity_bytes > 0
    assert get_tier_statistics_snapshot.sync(snapshot.id, client=viewer) == snapshot
    buckets = get_tier_statistics_series.sync(client=viewer, engine="smollm2", bucket=3600)
    known = [bucket for bucket in buckets if bucket.samples]
    assert known[-1].tiers["LocalCPUBackend"].capacity_bytes > 0
    assert [bucket.tiers for bucket in buckets if not bucket.samples] == [None] * (
        len(buckets) - len(known)
    )
    table = export_tier_statistics.sync(client=viewer, agent=AGENT)
    assert table.startswith("id,agent,engine,")
    assert isinstance(get_tier_statistics_series.sync(client=viewer, agent="nobody"), Error)
