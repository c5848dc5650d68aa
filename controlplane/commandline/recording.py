"""Makes sure that what a command did, or was refused, is on record, as
controlplane.recording does for calls over HTTP.

Changes record themselves. Here is the rest: runs that were refused before anything was
changed, that changed nothing, and reads that the policy wants.
"""

import logging
from http import HTTPStatus

from django.conf import settings
from django.db import DatabaseError

from controlplane.audit import services as audit
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy, policy_for
from controlplane.audit.redaction import hide_named
from controlplane.audit.trail import Trail
from controlplane.commandline.exits import Exit
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.told import AgentRead, Told
from controlplane.configuration.services import known_secrets

logger = logging.getLogger(__name__)


def record_run(verb: Verb, run: Run, followed: Trail, told: Told) -> None:
    """Note a run that could have changed something, unless it is on record already. A
    failure to record is logged only: nothing was changed."""
    try:
        if _is_on_record(followed):
            return
        audit.record(
            action="command.run",
            actor=run.actor,
            request_id=run.request_id,
            target=f"command:{run.name}",
            reason=str(run.options.get("reason") or "")[:500],
            request=_described(verb, run),
            answer=None if told.exit is Exit.DONE else told.document,
            outcome="succeeded" if told.exit is Exit.DONE else "failed",
        )
    except DatabaseError:
        logger.exception("run %s of %s could not be recorded", run.request_id, run.name)


def record_read(verb: Verb, run: Run, told: Told) -> None:
    """Note a read, if the policy wants that: of every agent by itself, as over HTTP.
    Raises django.db.DatabaseError, and then nothing may be told."""
    policies = settings.KVPLANE_AUDIT_READS
    policy = policy_for(verb.reads(run), policies) if policies else ReadPolicy.OFF
    if policy is ReadPolicy.OFF:
        return
    for read in told.reads:
        _record_agent_read(verb, run, read, policy)
    if told.reads:
        return
    audit.record(
        action="request.read",
        actor=run.actor,
        request_id=run.request_id,
        target=f"command:{run.name}",
        request=_described(verb, run),
        answer=told.document if policy is ReadPolicy.FULL else None,
        outcome="succeeded" if told.exit is Exit.DONE else "failed",
    )


def _record_agent_read(verb: Verb, run: Run, read: AgentRead, policy: ReadPolicy) -> None:
    agent, answer = read.agent, None
    if policy is ReadPolicy.FULL:
        answer = hide_named(read.said, known_secrets([agent.name]))
    audit.record(
        action="request.read",
        actor=run.actor,
        request_id=run.request_id,
        agent=agent.name,
        engine=agent.engine.name,
        request=_described(verb, run),
        answer=answer,
        outcome="succeeded" if read.result.status < HTTPStatus.BAD_REQUEST else "failed",
        status=read.result.status,
    )


def _described(verb: Verb, run: Run) -> dict[str, object]:
    return {"command": run.name, "arguments": verb.on_record(run.options)}


def _is_on_record(followed: Trail) -> bool:
    # What was recorded in a transaction that failed is not.
    return bool(followed.entries) and AuditEntry.objects.filter(pk__in=followed.entries).exists()
