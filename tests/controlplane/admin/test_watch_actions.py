"""Telling the control loop from the admin."""

import pytest
from django.utils import timezone

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.reconcile.models import Watch

pytestmark = pytest.mark.django_db
LIST = "/admin/reconcile/watch/"


@pytest.fixture
def watches(make_agent) -> list[Watch]:
    return [
        Watch.objects.create(
            agent=make_agent(f"worker-{number}", worker_id=number),
            drift={"freeze": True},
            drift_since=timezone.now(),
            gave_up_at=timezone.now(),
            attempts=5,
        )
        for number in range(2)
    ]


def do(client, name, watches, **fields):
    keys = "\n".join(str(watch.pk) for watch in watches)
    sent = {"keys": keys, "reason": "maintenance", **fields}
    return client.post(f"{LIST}confirm/{name}/", sent, follow=True)


def test_policy__of_several__is_set_with_the_reason(page_as, watches):
    answer = do(page_as(UserRole.OPERATOR), "policy", watches, policy="report")

    assert "The drift policy is set for 2 agents." in answer.content.decode()
    assert set(Watch.objects.values_list("policy", flat=True)) == {"report"}
    entries = AuditEntry.objects.filter(action="watch.policy")
    assert {(entry.reason, entry.actor_name) for entry in entries} == {("maintenance", "operator")}


def test_policy__as_the_setting_says__is_empty(page_as, watches):
    Watch.objects.update(policy="adopt")

    do(page_as(UserRole.OPERATOR), "policy", watches[:1], policy="")

    assert Watch.objects.get(pk=watches[0].pk).policy == ""


def test_policy__unknown__is_told_at_the_field(page_as, watches):
    answer = do(page_as(UserRole.OPERATOR), "policy", watches, policy="ignore")

    assert answer.context["form"].errors.keys() == {"policy"}


def test_retry__one_that_was_given_up__is_repaired_again(page_as, watches):
    answer = do(page_as(UserRole.OPERATOR), "retry", watches[:1])

    assert "The control loop tries again for worker-0." in answer.content.decode()
    assert Watch.objects.get(pk=watches[0].pk).gave_up_at is None
    assert Watch.objects.get(pk=watches[1].pk).gave_up_at is not None
    assert AuditEntry.objects.get(action="watch.retry").reason == "maintenance"


@pytest.mark.parametrize("name", ["policy", "retry"])
def test_action__viewer_or_no_reason__nothing_is_done(page_as, watches, name):
    assert do(page_as(UserRole.VIEWER), name, watches, policy="report").status_code == 403
    answer = do(page_as(UserRole.OPERATOR), name, watches, policy="report", reason="")

    assert answer.context["form"].errors.keys() == {"reason"}
    assert set(Watch.objects.values_list("policy", "attempts")) == {("", 5)}


def test_list__drift__is_shown_and_filtered(page_as, watches):
    Watch.objects.filter(pk=watches[1].pk).update(drift_since=None, gave_up_at=None)
    client = page_as(UserRole.VIEWER)

    drifting = client.get(LIST, {"drift_since__isempty": "0"})

    assert list(drifting.context["cl"].result_list) == [watches[0]]
    assert "gave up" in drifting.content.decode()
