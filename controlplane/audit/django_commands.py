"""Django's own management commands, on the record: some of them can change anything, and
they know nothing of the log. KVPlane's commands record what they change."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from controlplane.audit import services
from controlplane.audit.actors import Actor
from controlplane.audit.commands import command_actor
from controlplane.audit.models import AuditEntry, Stage

RECORDED = frozenset(
    {
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
    try:
        _record(Stage.REQUESTED, actor, request_id, name, request={"arguments": told})
    except DatabaseError as error:
        raise CommandNotRecorded(
            f"'{name}' was not run, because it could not be put on record: {error}. If the "
            "database is new, run 'migrate' first."
        ) from error
    outcome = "failed"
    try:
        yield
        outcome = "succeeded"
    except SystemExit as end:
        outcome = "failed" if end.code else "succeeded"
        raise
    finally:
        _record(Stage.COMPLETED, actor, request_id, name, outcome=outcome)


@contextmanager
def migrating() -> Iterator[None]:
    """Around `migrate`. There may be no log before; what was applied is recorded
    afterwards, if it was anything, and there is a log then."""
    before = _applied()
    yield
    after = _applied()
    if after == before or AuditEntry._meta.db_table not in connection.introspection.table_names():
        return
    _record(
        Stage.EVENT,
        command_actor(MIGRATE),
        uuid.uuid4().hex,
        MIGRATE,
        request={"applied": sorted(after - before), "unapplied": sorted(before - after)},
        outcome="succeeded",
    )


def _record(
    stage: Stage,
    actor: Actor,
    request_id: str,
    name: str,
    *,
    request: dict[str, object] | None = None,
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


def _applied() -> set[str]:
    recorded = MigrationRecorder(connection).applied_migrations()
    return {f"{app}.{name}" for app, name in recorded}
