"""Making, changing and forgetting engines."""

from collections.abc import Mapping

from django.db import transaction

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import Engine
from controlplane.fleet.validation import validate_labels, validate_name
from engine.contract import ContractError


def save_engine(
    engine: Engine,
    *,
    name: str,
    labels: Mapping[str, str],
    actor: Actor,
    request_id: str,
) -> Engine:
    """Create the engine or change its name and labels. Raises django's
    ValidationError and IntegrityError."""
    validate_name(name)
    validate_labels(labels)
    before = {} if engine.pk is None else _describe_engine(engine)
    with transaction.atomic():
        engine.name = name
        engine.labels = dict(labels)
        engine.save()
        if before != _describe_engine(engine):
            record_engine(engine, before, actor, request_id)
    return engine


def _describe_engine(engine: Engine) -> dict[str, object]:
    return {"name": engine.name, "labels": engine.labels}


def record_engine(engine: Engine, before: dict[str, object], actor: Actor, request_id: str) -> None:
    audit.record(
        action="engine.update" if before else "engine.create",
        actor=actor,
        request_id=request_id,
        target=f"engine:{engine.name}",
        engine=engine.name,
        before=before or None,
        after=_describe_engine(engine),
        outcome="succeeded",
    )


def remove_engine(engine: Engine, *, actor: Actor, request_id: str) -> None:
    """Forget an engine without agents. Raises ContractError 409 if it has some."""
    before = _describe_engine(engine)
    with transaction.atomic():
        if engine.agents.exists():
            raise ContractError(
                409, "Engine in use", f"The engine '{engine.name}' has agents; remove them first."
            )
        engine.delete()
        audit.record(
            action="engine.remove",
            actor=actor,
            request_id=request_id,
            target=f"engine:{engine.name}",
            engine=engine.name,
            before=before,
            outcome="succeeded",
        )
