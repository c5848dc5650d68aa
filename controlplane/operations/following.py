"""Telling whoever makes sure that a request is on record what it is about."""

from django.conf import settings

from controlplane.audit import trail
from controlplane.configuration.services import known_secrets
from controlplane.fleet.models import Agent
from engine.contract import Endpoint, Values


def follow_call(agent: Agent, endpoint: Endpoint, values: Values) -> None:
    """Note which agent the present request calls, and whether it reads or changes."""
    followed = trail.current()
    if followed is None:
        return
    followed.agent, followed.engine = agent.name, agent.engine.name
    followed.action = endpoint.action or ""
    followed.reads = "" if endpoint.changes(values) else str(endpoint.group)
    if followed.reads and settings.KVPLANE_AUDIT_READS:
        followed.secrets = known_secrets([agent.name])
