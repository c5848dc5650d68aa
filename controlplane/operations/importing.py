"""Finding out what agents have before the first change of it."""

import logging
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.authorship import Authorship
from controlplane.audit.difference import side
from controlplane.configuration import services as configuration
from controlplane.configuration.errors import ChangeInProgress
from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.configuration.reading import read_configurations
from controlplane.configuration.services import Observed
from controlplane.fleet.models import Agent
from controlplane.forwarding import AgentFailure
from controlplane.operations.effects import CONF_UPDATE
from engine.contract import Endpoint

logger = logging.getLogger(__name__)
CONTROLLER = Actor(ActorKind.CONTROLLER, "controller", "controller")
"""Who acts when nobody asked."""


def import_unknown(
    endpoint: Endpoint, agents: Sequence[Agent], *, request_id: str, timeout: float
) -> None:
    """Before a configuration is changed for the first time, keep what it was, as a
    revision of its own. An agent that does not tell is left: its revisions then hold
    only what was set, until the control loop learns the rest."""
    if endpoint.action != CONF_UPDATE:
        return
    names = [agent.name for agent in agents]
    active = ConfigRevision.objects.filter(
        agent__in=names, state=RevisionState.ACTIVE, complete=True
    )
    known = dict(active.values_list("agent", "created_at"))
    unknown = [
        agent
        for agent in agents
        # One of that name that was registered before is another agent.
        if agent.name not in known or known[agent.name] < agent.registered_at
    ]
    if not unknown:
        return
    results = read_configurations(
        unknown, request_id=request_id, timeout=min(timeout, settings.KVPLANE_POLL_TIMEOUT)
    )
    for agent, observed in zip(unknown, results, strict=True):
        if isinstance(observed, AgentFailure):
            logger.warning("configuration of %s not imported: %s", agent.name, observed.message)
        else:
            import_configuration(agent, observed, Source.IMPORT, "", request_id)


def import_configuration(
    agent: Agent, observed: Observed, source: Source, reason: str, request_id: str
) -> None:
    """Make what the agent has the active revision, by the controller, on record. Does
    nothing while a change is on its way: the control loop comes back to it."""
    by = Authorship(CONTROLLER, reason, request_id, None)
    try:
        with transaction.atomic():
            revision = configuration.import_observed(agent.name, observed, source, by)
            audit.record(
                action=f"conf.{source.value}",
                actor=CONTROLLER,
                request_id=request_id,
                agent=agent.name,
                engine=agent.engine.name,
                reason=reason,
                request={"revision": revision.number},
                before=side(revision.diff, "from"),
                after=side(revision.diff, "to"),
                outcome="succeeded",
            )
    except ChangeInProgress:
        logger.info("configuration of %s not imported: it is being changed", agent.name)
