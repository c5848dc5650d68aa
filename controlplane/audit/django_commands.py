"""Management commands of Django and of what is used beside it, on the record: some of them
can change anything, and they know nothing of the log. KVPlane's commands record what they
change themselves."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from controlplane.audit import services
from controlplane.audit.actors import Actor
from controlplane.audit.commands import command_actor
from controlplane.audit.models import AuditEntry, Stage

RECORDED = frozenset(
    {
        "axes_reset",
        "axes_reset_failure_logs",
        "axes_reset_ip",
        "axes_reset_ip_username",
        "axes_reset_logs",
        "axes_reset_username",
        "changepassword",
        "clearsessions",
        "createcachetable",
        "createsuperuser",
        "dbshell",
        "dumpdata",
        "flush",
        "loaddata",
        "remove_stale_contenttypes",
        "shell",
    }
)
MIGRATE = "migrate"
_ACTION = "command.run"
_Migration = tuple[str, str]
# Code, or SQL: nobody knows what secrets it holds.
_TELLS_CODE = frozenset({"dbshell", "shell"})


class CommandNotRecorded(DatabaseError):
    """A command was not run, because it could not be put on record."""


@contextmanager
def on_record(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Around the command of that name. Raises CommandNotRecorded before anything is
    done."""
    actor, request_id = command_actor(name), uuid.uuid4().hex
    told = ["…" for _ in arguments] if name in _TELLS_CODE else list(arguments)
    _announce(actor, request_id, name, {"arguments": told})
    with _told(lambda outcome: _record(Stage.COMPLETED, actor, request_id, name, outcome=outcome)):
        yield


@contextmanager
def migrating(arguments: Sequence[str] = ()) -> Iterator[None]:
    """Around `migrate`. What was applied is recorded afterwards, also if it failed half
    way. If there is a log before, and it stays as it is, what is to be done is recorded
    first: raises CommandNotRecorded before anything is done."""
    actor, request_id = command_actor(MIGRATE), uuid.uuid4().hex
    before, pending = _applied(), _pending()
    stage = Stage.EVENT
    # A log that is to be migrated itself may not be one yet that can be written.
    has_log = _has_log() and not any(app == AuditEntry._meta.app_label for app, _ in pending)
    if has_log and (pending or any(not argument.startswith("-") for argument in arguments)):
        told = {"arguments": list(arguments), "pending": _names(pending)}
        _announce(actor, request_id, MIGRATE, told)
        stage = Stage.COMPLETED

    def tell(outcome: str) -> None:
        after = _applied()
        if stage == Stage.EVENT and (after == before or not _has_log()):
            return
        changed = {"applied": _names(after - before), "unapplied": _names(before - after)}
        _record(stage, actor, request_id, MIGRATE, request=changed, outcome=outcome)

    with _told(tell):
        yield


@contextmanager
def _told(tell: Callable[[str], None]) -> Iterator[None]:
    """Tells the outcome of what happens inside."""
    outcome = "failed"
    try:
        yield
        outcome = "succeeded"
    except SystemExit as end:
        outcome = "failed" if end.code else "succeeded"
        raise
    finally:
        tell(outcome)


def _announce(actor: Actor, request_id: str, name: str, request: Mapping[str, object]) -> None:
    try:
        _record(Stage.REQUESTED, actor, request_id, name, request=request)
    except DatabaseError as error:
        raise CommandNotRecorded(
            f"'{name}' was not run, because it could not be put on record: {error}. If the "
            "database is new, run 'migrate' first."
        ) from error


def _record(
    stage: Stage,
    actor: Actor,
    request_id: str,
    name: str,
    *,
    request: Mapping[str, object] | None = None,
    outcome: str = "",
) -> None:
    services.record(
        stage=stage,
        action=_ACTION,
        target=f"command:{name}",
        actor=actor,
        request_id=request_id,
        request=request,
        outcome=outcome,
    )


def _applied() -> set[_Migration]:
    return set(MigrationRecorder(connection).applied_migrations())


def _pending() -> set[_Migration]:
    """What `migrate` without arguments would apply."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return {(migration.app_label, migration.name) for migration, _ in plan}


def _names(migrations: set[_Migration]) -> list[str]:
    return sorted(f"{app}.{name}" for app, name in migrations)


def _has_log() -> bool:
    return AuditEntry._meta.db_table in connection.introspection.table_names()
