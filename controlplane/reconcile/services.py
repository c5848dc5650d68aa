"""What people tell the control loop."""

from django.db import transaction

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import Agent
from controlplane.reconcile.models import Policy, Watch


def watch_of(agent: Agent) -> Watch:
    """The loop's notes on the agent; empty ones if it has not come by yet."""
    return Watch.objects.get_or_create(agent=agent)[0]


def set_policy(
    watch: Watch, policy: Policy | None, *, actor: Actor, request_id: str, reason: str = ""
) -> Watch:
    """Choose what is done about drift of one agent; None: as the setting says."""
    wanted = "" if policy is None else policy.value
    with transaction.atomic():
        before = watch.policy
        if before == wanted:
            return watch
        Watch.objects.filter(pk=watch.pk).update(policy=wanted)
        audit.record(
            action="watch.policy",
            actor=actor,
            request_id=request_id,
            agent=watch.agent.name,
            engine=watch.agent.engine.name,
            reason=reason,
            before={"policy": before},
            after={"policy": wanted},
            outcome="succeeded",
        )
    watch.policy = wanted
    return watch


def try_again(watch: Watch, *, actor: Actor, request_id: str, reason: str = "") -> Watch:
    """Let the loop repair the agent from its next round on, whether it waits or has
    given up."""
    with transaction.atomic():
        Watch.objects.filter(pk=watch.pk).update(
            attempts=0, next_attempt_at=None, gave_up_at=None, last_error="", verified_hash=""
        )
        audit.record(
            action="watch.retry",
            actor=actor,
            request_id=request_id,
            agent=watch.agent.name,
            engine=watch.agent.engine.name,
            reason=reason,
            request={"drift": watch.drift, "repairs": watch.attempts},
            outcome="succeeded",
        )
    watch.refresh_from_db()
    return watch
