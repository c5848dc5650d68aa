"""A log of some length, and somebody who gets at the table past all guards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection, transaction

from controlplane.audit import guards, services
from controlplane.audit.heads import HeadWriter
from controlplane.audit.keys import KeyRing, key_ring
from controlplane.audit.models import AuditEntry, Stage
from controlplane.audit.reports import Report
from controlplane.audit.verification import verify
from tests.controlplane.conftest import ACTOR

Row = tuple[int, str, str, str, str]
COLUMNS = ("id", "key_id", "previous", "mac", "document")


@pytest.fixture
def keys() -> KeyRing:
    return key_ring()


@pytest.fixture
def heads(tmp_path) -> Path:
    return tmp_path / "heads"


@pytest.fixture
def check(keys, heads) -> Callable[[], Report]:
    """Verifies the log."""
    return lambda: verify(keys, heads)


@pytest.fixture
def sign(keys, heads) -> Callable[[], object]:
    """Signs the end of the log as it is now."""
    return HeadWriter(heads, keys).write


@pytest.fixture
def write() -> Callable[..., AuditEntry]:
    """Puts something on record."""

    def record(number: int = 0, **given: object) -> AuditEntry:
        return services.record(
            **{
                "action": "conf.update",
                "stage": Stage.COMPLETED,
                "actor": ACTOR,
                "request_id": f"r-{number}",
                "agent": f"worker-{number % 3}",
                "reason": "größer\n\u2028",
                "before": {"max_local_cpu_size": 5.0},
                "after": {"max_local_cpu_size": 5.0 + number},
                "outcome": "succeeded",
                **given,
            }
        )

    return record


@pytest.fixture
def log(db, write, sign) -> list[AuditEntry]:
    """Twelve entries, the last of them signed."""
    entries = [write(number) for number in range(12)]
    sign()
    return entries


def tampered(*statements: tuple[str, list[object]]) -> None:
    """Run the statements as somebody who owns the database, and put the guards back.
    The indexes are gone: they would notice before anybody looks."""
    with guards.lifted(connection), connection.cursor() as cursor:
        for index in _indexes():
            cursor.execute(f"DROP INDEX {index}")
        for statement, values in statements:
            cursor.execute(statement, values)


@contextmanager
def undone() -> Iterator[None]:
    """What happens inside never happened."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def stored_rows() -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM audit_auditentry ORDER BY id")
        return cursor.fetchall()


def _indexes() -> list[str]:
    statement = (
        "SELECT indexname FROM pg_indexes WHERE tablename = %s AND indexname NOT LIKE '%%pkey%%'"
        if connection.vendor == "postgresql"
        else "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [guards.TABLE])
        return [name for (name,) in cursor.fetchall()]
