"""What the control loop does to what should be, on record."""

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.modes.models import DesiredMode

pytestmark = pytest.mark.django_db(transaction=True)


def test_first_sight__modes_are_kept_as_they_were_found__is_on_record(loop, fleet):
    _, simulated = fleet()
    simulated.freeze = True
    loop.go_round()

    assert DesiredMode.objects.get(mode="freeze").value is True
    (entry,) = AuditEntry.objects.filter(action="mode.import")
    assert (entry.agent, entry.actor_kind) == ("worker-0", "controller")
    assert entry.request["modes"]["freeze"] is True
    loop.go_round()
    assert AuditEntry.objects.filter(action="mode.import").count() == 1


def test_expiry__leads_to_what_is_already__is_on_record_once(loop, fleet, operator_api):
    fleet()
    loop.go_round()
    operator_api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Expires-In": "1200"})
    DesiredMode.objects.filter(mode="freeze").update(expires_at=timezone.now(), revert_to=True)
    loop.go_round()
    loop.go_round()

    (entry,) = AuditEntry.objects.filter(action="mode.last")
    assert entry.request["modes"] == {"freeze": True}
    assert DesiredMode.objects.get(mode="freeze").expires_at is None
