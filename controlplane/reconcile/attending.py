"""Caring for one agent that is not, or not known to be, as it should be."""

import logging
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.audit.authorship import Authorship
from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.configuration.reading import read_configuration
from controlplane.configuration.schema import secret_keys
from controlplane.configuration.services import Observed
from controlplane.configuration.values import show
from controlplane.fleet.models import Agent
from controlplane.modes import services as modes
from controlplane.modes.models import Mode, ModeSource
from controlplane.modes.services import Switch
from controlplane.operations.importing import CONTROLLER, import_configuration
from controlplane.reconcile.backoff import next_attempt_at
from controlplane.reconcile.drift import (
    ConfigDrift,
    ModeDrift,
    compare_configuration,
    compare_modes,
    describe,
    unset_modes,
)
from controlplane.reconcile.expiring import expire_modes
from controlplane.reconcile.models import Policy, Watch
from controlplane.reconcile.repairing import repair
from controlplane.reconcile.resolving import resolve_unknown
from controlplane.reconcile.sighting import Sighting
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_NOTES = (
    "boot_id",
    "verified_hash",
    "verified_revision",
    "drift",
    "drift_since",
    "attempts",
    "next_attempt_at",
    "gave_up_at",
    "last_error",
)
_SETTABLE = (Source.CHANGE, Source.ROLLBACK)


@dataclass(frozen=True)
class _Found:
    """What was compared: the revision and the values it was compared with."""

    revision: ConfigRevision
    observed: Observed
    drift: ConfigDrift


class NotesOutdated(Exception):
    """Somebody told the loop to try again, removed the agent or took it over since its
    notes were read."""


def attend(sighting: Sighting) -> None:
    """Take up what the agent is found in, and put right what is wrong, by its policy.
    An agent that fails meanwhile is left for the next round."""
    name = sighting.watch.agent.name
    try:
        _attend(sighting, uuid.uuid4().hex)
    except ContractError as error:
        logger.warning("agent %s is left for the next round: %s", name, error.message)
    except NotesOutdated:
        logger.info("agent %s is left for the next round: its notes changed", name)


def _attend(sighting: Sighting, request_id: str) -> None:
    watch, agent = sighting.watch, sighting.watch.agent
    if _has_restarted(sighting):
        _note_restart(sighting, request_id)
    resolve_unknown(agent)
    expire_modes(agent, request_id)
    _take_up_modes(sighting, request_id)
    found = _compare_configuration(sighting, request_id)
    mode_drifts = _compare_modes(sighting)
    if found is None and watch.verified_hash != sighting.conf_hash:
        # A change is on its way; there is nothing to compare with yet.
        return
    live = {} if found is None else found.drift.live
    drift = describe(live, mode_drifts)
    if not drift:
        _note_right(watch, sighting, found, request_id)
        return
    # Somebody may have chosen another policy since the round began.
    watch.policy = _notes_of(watch).values_list("policy", flat=True).first() or ""
    _note_drift(watch, drift, request_id)
    match policy_of(watch):
        case Policy.ADOPT:
            _adopt(agent, found, mode_drifts, request_id)
        case Policy.ENFORCE:
            _enforce(watch, found, mode_drifts, request_id)


def policy_of(watch: Watch) -> Policy:
    """The agent's own policy, else the one of the setting."""
    return Policy(watch.policy or settings.KVPLANE_DRIFT_POLICY)


def _has_restarted(sighting: Sighting) -> bool:
    return bool(sighting.boot_id) and sighting.watch.boot_id != sighting.boot_id


def _note_restart(sighting: Sighting, request_id: str) -> None:
    watch = sighting.watch
    before, watch.boot_id = watch.boot_id, sighting.boot_id
    # Everything is to be applied again.
    watch.verified_hash = ""
    _forget_failures(watch)
    with transaction.atomic():
        _save(watch)
        modes.end_anew(watch.agent.name)
        if before:
            audit.record(
                action="agent.restart",
                actor=CONTROLLER,
                request_id=request_id,
                agent=watch.agent.name,
                engine=watch.agent.engine.name,
                before={"boot_id": before},
                after={"boot_id": sighting.boot_id},
                outcome="observed",
            )


def _take_up_modes(sighting: Sighting, request_id: str) -> None:
    """Keep the modes that the agent is found in for the first time. Later, a backend
    that is bypassed and of which nobody has spoken should not be."""
    watch = sighting.watch
    agent = watch.agent.name
    observed = sighting.modes()
    unset = unset_modes(modes.desired_of([agent])[agent], observed)
    if watch.modes_known:
        unset = {
            switch: switch.mode is not Mode.BYPASS and value for switch, value in unset.items()
        }
    if not unset and watch.modes_known:
        return
    with transaction.atomic():
        by = Authorship(CONTROLLER, "as it was found", request_id, None)
        modes.forget(agent, before=watch.agent.registered_at)
        modes.note_observed(agent, unset, ModeSource.IMPORT, by)
        watch.modes_known = True
        if not _notes_of(watch).update(modes_known=True):
            raise NotesOutdated
        if unset:
            audit.record(
                action="mode.import",
                actor=CONTROLLER,
                request_id=request_id,
                agent=agent,
                engine=watch.agent.engine.name,
                reason=by.reason,
                request={"modes": {" ".join(switch).strip(): unset[switch] for switch in unset}},
                outcome="succeeded",
            )


def _compare_configuration(sighting: Sighting, request_id: str) -> _Found | None:
    """None: it is as it should be, or nobody can tell now."""
    watch, agent = sighting.watch, sighting.watch.agent
    active = configuration.find_active(agent.name)
    if active is not None and active.created_at < agent.registered_at:
        # It was made for another agent that had this name.
        active = None
    if (
        active is not None
        and active.complete
        and sighting.conf_hash
        and sighting.conf_hash == watch.verified_hash
        and active.number == watch.verified_revision
        and not watch.drift
    ):
        return None
    started = timezone.now()
    observed = read_configuration(
        agent, request_id=request_id, timeout=settings.KVPLANE_POLL_TIMEOUT
    )
    if active is None or not active.complete:
        import_configuration(agent, observed, Source.IMPORT, "as it was found", request_id)
        watch.verified_hash = ""
        return None
    configuration.remember_schema(agent.name, observed.keys)
    active = configuration.find_active(agent.name)
    if active is None or not configuration.is_settled_at(agent.name, active.number):
        return None
    if active.settled_at is None or active.settled_at >= started:
        return None
    drift = compare_configuration(
        active.values,
        # As the revision has them: some values are shown otherwise here than by the agent.
        show(observed.values, secret_keys(observed.keys)),
        observed.keys,
        _managed_keys(agent.name, observed),
    )
    if drift.fixed:
        _take_up_fixed(agent, active, observed, drift, request_id)
        return None
    return _Found(active, observed, drift)


def _managed_keys(agent: str, observed: Observed) -> frozenset[str]:
    if observed.keys:
        return frozenset()
    diffs = ConfigRevision.objects.filter(
        agent=agent,
        state__in=(RevisionState.ACTIVE, RevisionState.SUPERSEDED),
        source__in=_SETTABLE,
    ).values_list("diff", flat=True)
    return frozenset(key for diff in diffs for key in diff)


def _take_up_fixed(
    agent: Agent,
    active: ConfigRevision,
    observed: Observed,
    drift: ConfigDrift,
    request_id: str,
) -> None:
    """Fixed settings are what the agent was started with: those become desired."""
    values = {**observed.values, **{key: active.values[key] for key in drift.live}}
    import_configuration(
        agent,
        Observed(values, observed.keys, observed.after),
        Source.RESTART,
        "started with other settings",
        request_id,
    )


def _compare_modes(sighting: Sighting) -> list[ModeDrift]:
    agent = sighting.watch.agent.name
    desired = modes.desired_of([agent])[agent]
    if not sighting.has_cache:
        return []
    return [
        drift
        for drift in compare_modes(desired, sighting.modes())
        if drift.desired.since < sighting.asked_at and modes.is_latest(drift.desired.change)
    ]


def _note_right(watch: Watch, sighting: Sighting, found: _Found | None, request_id: str) -> None:
    """It is as it should be."""
    was, repairs = watch.drift, watch.attempts
    watch.drift, watch.drift_since = {}, None
    if watch.next_attempt_at is None or watch.next_attempt_at <= timezone.now():
        # It lasted. Else somebody may be undoing each repair, and patience has an end.
        _forget_failures(watch)
    if found is not None:
        watch.verified_hash = sighting.conf_hash
        watch.verified_revision = found.revision.number
    with transaction.atomic():
        _save(watch)
        if was:
            audit.record(
                action="drift.gone",
                actor=CONTROLLER,
                request_id=request_id,
                agent=watch.agent.name,
                engine=watch.agent.engine.name,
                request={"drift": was, "repairs": repairs},
                outcome="observed",
            )


def _note_drift(watch: Watch, drift: dict[str, object], request_id: str) -> None:
    """It is not; said once for the same drift."""
    if watch.drift == drift:
        return
    watch.drift = drift
    watch.drift_since = watch.drift_since or timezone.now()
    with transaction.atomic():
        _save(watch)
        audit.record(
            action="drift.found",
            actor=CONTROLLER,
            request_id=request_id,
            agent=watch.agent.name,
            engine=watch.agent.engine.name,
            request={"drift": drift, "policy": policy_of(watch).value},
            outcome="observed",
        )


def _adopt(agent: Agent, found: _Found | None, drifts: list[ModeDrift], request_id: str) -> None:
    reason = "changed past the control plane"
    if found is not None and found.drift.live:
        import_configuration(agent, found.observed, Source.ADOPT, reason, request_id)
    by = Authorship(CONTROLLER, reason, request_id, None)
    if not drifts:
        return
    observed = {
        Switch(Mode(drift.desired.mode), drift.desired.backend): drift.observed for drift in drifts
    }
    with transaction.atomic():
        modes.note_observed(agent.name, observed, ModeSource.ADOPT, by)
        audit.record(
            action="mode.adopt",
            actor=CONTROLLER,
            request_id=request_id,
            agent=agent.name,
            engine=agent.engine.name,
            reason=reason,
            request={"modes": describe({}, drifts)["modes"]},
            outcome="succeeded",
        )


def _enforce(watch: Watch, found: _Found | None, drifts: list[ModeDrift], request_id: str) -> None:
    if watch.gave_up_at is not None:
        return
    if watch.next_attempt_at is not None and watch.next_attempt_at > timezone.now():
        return
    if watch.attempts >= settings.KVPLANE_REPAIR_ATTEMPTS:
        _give_up(watch, request_id)
        return
    try:
        failure = repair(
            watch.agent,
            None if found is None else (found.revision, found.observed, found.drift.live),
            drifts,
            request_id,
        )
    except ContractError as error:
        failure = error.message
    watch.attempts += 1
    watch.next_attempt_at = next_attempt_at(watch.attempts)
    watch.last_error = failure[:500]
    _save(watch)


def _give_up(watch: Watch, request_id: str) -> None:
    logger.error(
        "agent %s is not as it should be and %d repairs did not help: %s",
        watch.agent.name,
        watch.attempts,
        watch.last_error or "they were accepted, but did not last",
    )
    with transaction.atomic():
        watch.gave_up_at = timezone.now()
        _save(watch)
        audit.record(
            action="drift.give_up",
            actor=CONTROLLER,
            request_id=request_id,
            agent=watch.agent.name,
            engine=watch.agent.engine.name,
            request={"drift": watch.drift, "repairs": watch.attempts},
            answer={"message": watch.last_error},
            outcome="failed",
        )


def _save(watch: Watch) -> None:
    """Write the loop's own notes. Policy and holder are for others to change. Raises
    NotesOutdated."""
    notes = {name: getattr(watch, name) for name in _NOTES}
    if not _notes_of(watch).filter(retries=watch.retries).update(**notes):
        raise NotesOutdated


def _notes_of(watch: Watch) -> QuerySet[Watch]:
    return Watch.objects.filter(pk=watch.pk, holder=watch.holder)


def _forget_failures(watch: Watch) -> None:
    watch.attempts = 0
    watch.next_attempt_at = watch.gave_up_at = None
    watch.last_error = ""
