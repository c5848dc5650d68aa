"""The control loop over an LMCache process, which tells neither boot id nor schema."""

import pytest

from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent, Dialect
from controlplane.modes.models import DesiredMode

from .going_round import rounds

pytestmark = pytest.mark.django_db(transaction=True)


def test_lmcache__polled__is_online_and_its_state_is_taken_up(loop, fleet):
    _, simulated = fleet(dialect=Dialect.LMCACHE)

    rounds(loop, 2)

    assert Agent.objects.get().health == "online"
    assert ConfigRevision.objects.get(state="active").values["chunk_size"] == 256
    assert DesiredMode.objects.get(mode="hot_cache").value is True
    assert not any("/agent/status" in asked or "schema" in asked for asked in simulated.asked)


def test_lmcache__restarted__what_was_set_here_is_put_back_and_the_rest_taken_up(
    loop, fleet, operator_api
):
    _, simulated = fleet(dialect=Dialect.LMCACHE)
    rounds(loop, 2)
    operator_api.post("/agents/worker-0/conf", data={"min_retrieve_tokens": 7}, format="json")
    operator_api.put("/agents/worker-0/freeze/enable")
    rounds(loop, 2)
    simulated.restart(remote_serde="zstd")

    rounds(loop, 4)

    assert simulated.conf["min_retrieve_tokens"] == 7
    assert simulated.freeze is True
    active = ConfigRevision.objects.get(state="active")
    assert (active.values["remote_serde"], active.source) == ("zstd", "restart")
    assert simulated.conf["remote_serde"] == "zstd"
