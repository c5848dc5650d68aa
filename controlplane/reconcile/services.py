"""What people tell the control loop."""

from django.db import transaction

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import Agent
from controlplane.fleet.services import AgentNotFound
from controlplane.modes import services as modes
from controlplane.reconcile.models import Policy, Watch


def watch_of(agent: Agent) -> Watch:
    """The loop's notes on the agent; empty ones if it has not come by yet."""
    return Watch.objects.get_or_create(agent=agent)[0]


def set_policy(
    watch: Watch, policy: Policy | None, *, actor: Actor, request_id: str, reason: str = ""
) -> Watch:
    """Choose what is done about drift of one agent; None: as the setting says. Raises
    AgentNotFound if it was removed."""
    wanted = "" if policy is None else policy.value
    with transaction.atomic():
        watch = _locked(watch)
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
    """Let the loop repair the agent, and end its modes whose time is up, from its next
    round on, whether it waits or has given up. Raises AgentNotFound if it was removed."""
    with transaction.atomic():
        watch = _locked(watch)
        Watch.objects.filter(pk=watch.pk).update(
            attempts=0,
            next_attempt_at=None,
            gave_up_at=None,
            last_error="",
            verified_hash="",
            retries=watch.retries + 1,
        )
        modes.end_anew(watch.agent.name)
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


def _locked(watch: Watch) -> Watch:
    """The row as it is now, which nobody else changes before the transaction ends."""
    rows = Watch.objects.select_related("agent__engine").select_for_update(of=("self",))
    found = rows.filter(pk=watch.pk).first()
    if found is None:
        raise AgentNotFound(watch.agent.name)
    return found
