"""The database: whether it is there, as the program expects it, and quick."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from controlplane.launcher.checkup.finding import Finding, bad, ok, warn

AREA = "database"
_SLOW_S = 0.25
_VERY_SLOW_S = 2.0
_SKEW_S = 2.0
_DURABLE = (2, 3)
"""SQLite's FULL and EXTRA."""


def check_connection() -> Finding:
    """Whether it answers."""
    name = str(connection.settings_dict["NAME"])
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        return bad(
            AREA,
            f"{connection.vendor} {name} cannot be reached: {error}",
            "Start it, or correct DATABASE_URL or KVPLANE_DATA_DIR.",
        )
    return ok(AREA, f"{connection.vendor} {name} answers")


def check_migrations() -> Finding:
    """Whether the tables are those of this version."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:5])
        return bad(
            AREA, f"{len(missing)} migrations are not applied: {names}", "Run `manage.py migrate`."
        )
    return ok(AREA, "all migrations are applied")


def check_settings() -> Iterator[Finding]:
    """Whether what is recorded survives a power cut."""
    yield from _check_postgresql() if connection.vendor == "postgresql" else _check_sqlite()


def check_commit(commit: Callable[[], object]) -> Finding:
    """How long `commit` takes, which puts something on record."""
    started = time.perf_counter()
    try:
        commit()
    except DatabaseError as error:
        return bad(
            AREA,
            f"nothing can be recorded: {error}",
            "Until that is so no change is made. Look at locks, space and rights of the database.",
        )
    seconds = time.perf_counter() - started
    said = f"a commit takes {seconds * 1000:.0f} ms"
    if seconds < _SLOW_S:
        return ok(AREA, said)
    remedy = "Every change waits for two of them: look for a busy disk or a long transaction."
    return warn(AREA, said, remedy) if seconds < _VERY_SLOW_S else bad(AREA, said, remedy)


def check_clock() -> Finding:
    """Whether the database's clock is this host's."""
    if connection.vendor != "postgresql":
        return ok("clocks", "the database is a file of this host")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (there,) = cursor.fetchone()
    ahead = (_aware(there) - timezone.now()).total_seconds()
    if abs(ahead) > _SKEW_S:
        return warn(
            "clocks",
            f"the database's clock is {ahead:+.0f} s off this host's",
            "Synchronize both (NTP): leases and expiries go by this host's clock.",
        )
    return ok("clocks", "the database's clock agrees with this host's")


def _check_sqlite() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        journal = str(cursor.execute("PRAGMA journal_mode").fetchone()[0])
        synchronous = int(cursor.execute("PRAGMA synchronous").fetchone()[0])
    if journal == "wal":
        yield ok(AREA, "journal_mode is WAL")
    else:
        yield warn(
            AREA,
            f"journal_mode is {journal}, so that readers and writers wait for each other",
            "Put the database on a local file system that supports WAL.",
        )
    if synchronous in _DURABLE:
        yield ok(AREA, "synchronous is FULL")
    else:
        yield bad(
            AREA,
            f"synchronous is {synchronous}: what is recorded may be lost by a power cut",
            "Take the init_command of the settings back to synchronous=FULL.",
        )


def _check_postgresql() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            # As sessions begin: a transaction may have its own for a while.
            cursor.execute("SELECT reset_val FROM pg_settings WHERE name = %s", [name])
            (value,) = cursor.fetchone()
            if value == "off":
                yield bad(
                    AREA,
                    f"{name} is off: what is recorded may be lost by a power cut",
                    f"Set {name} = on in postgresql.conf and reload.",
                )
            else:
                yield ok(AREA, f"{name} is {value}")


def _aware(moment: datetime) -> datetime:
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
