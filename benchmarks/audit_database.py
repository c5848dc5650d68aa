"""Measures the audit log on the database of this process's settings.

    python -m benchmarks.audit_database ROWS

prints what it finds as JSON, a line each. `benchmarks.audit_log` starts it.
"""

import hmac
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

import django

django.setup()

# ruff: noqa: E402 - the models need the settings

from django.db import connection, transaction
from rest_framework.test import APIRequestFactory, force_authenticate

from benchmarks import simulated_audit
from controlplane.accounts.models import User, UserRole
from controlplane.audit import chain, services
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.chain import authenticated, read_head
from controlplane.audit.heads import head_writer, heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.models import AuditEntry
from controlplane.audit.stored import rows_after
from controlplane.audit.verification import verify
from controlplane.audit.views import AuditViewSet

WRITERS = 16
SECONDS = 6.0
CALLS = 60
_COLUMNS = "(id, key_id, previous, mac, document)"
_ACTOR = Actor(ActorKind.TOKEN, "anna/ci", "token:9", "10.0.0.7", "kv/1.2")


def main(count: int) -> None:
    """Everything, in order."""
    _measure_appends()
    _fill(count)
    _measure_pages()
    _measure_verification()


def _measure_appends() -> None:
    entry = _append()
    _make_twin()
    bare, chained, changes = [], [], []
    # In turn, because the machine has moods.
    for _ in range(2):
        bare.append(_rate(lambda: _commit_bare(entry)))
        chained.append(_rate(lambda: _append()))
        changes.append(_rate(_append_with_a_change))
    _tell("bare commits", max(bare), "a second")
    _tell("appends", max(chained), "a second")
    _tell("appends / bare commits", max(chained) / max(bare), "")
    _tell("appends, each in a transaction of its own / bare", max(changes) / max(bare), "")


def _append() -> AuditEntry:
    return services.record(
        action="conf.update",
        actor=_ACTOR,
        request_id="req-1",
        agent="prod-001",
        engine="engine-1",
        reason="deploy 42",
        request={"method": "POST", "path": "/agents/prod-001/conf"},
        answer={"status": "success", "updated": {"max_local_cpu_size": 6.0}},
        before={"max_local_cpu_size": 5.0},
        after={"max_local_cpu_size": 6.0},
        outcome="succeeded",
        status=200,
    )


def _append_with_a_change() -> None:
    """As a change is recorded: in the transaction that makes it."""
    with transaction.atomic():
        _append()


def _make_twin() -> None:
    """The same columns and indexes, without chain and guards."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("CREATE TABLE bare (LIKE audit_auditentry INCLUDING ALL)")
            return
        cursor.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'audit_auditentry' "
            "AND type IN ('table', 'index') ORDER BY type DESC"
        )
        for (statement,) in cursor.fetchall():
            twin = statement.replace("audit_auditentry", "bare").replace('INDEX "', 'INDEX "bare_')
            cursor.execute(twin)


def _commit_bare(entry: AuditEntry) -> None:
    values = (entry.key_id, entry.previous, entry.mac, entry.document)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bare (key_id, previous, mac, document) VALUES (%s, %s, %s, %s)", values
        )


def _rate(commit: Callable[[], object]) -> float:
    """Commits a second by all writers together."""
    counts = [0] * WRITERS
    begin = threading.Barrier(WRITERS + 1)
    stopping = threading.Event()

    def work(place: int) -> None:
        commit()
        begin.wait()
        while not stopping.is_set():
            commit()
            counts[place] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(WRITERS)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    stopping.wait(SECONDS)
    done, elapsed = sum(counts), time.perf_counter() - started
    stopping.set()
    for thread in threads:
        thread.join()
    return done / elapsed


def _fill(count: int) -> None:
    started = time.perf_counter()
    rows = simulated_audit.rows(count, key_ring(), read_head())
    insert = f"INSERT INTO audit_auditentry {_COLUMNS} VALUES (%s, %s, %s, %s, %s)"
    while batch := list(islice(rows, 10_000)):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(insert, batch)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    head_writer().write()
    _tell("entries", AuditEntry.objects.count(), f"in {time.perf_counter() - started:.0f} s")


def _measure_pages() -> None:
    worst = 0.0
    user = User(pk=1, username="bench", role=UserRole.VIEWER)
    for name, queries in _queries().items():
        page = _timed(queries, user)
        worst = max(worst, page["p95"])
        print(json.dumps({"name": f"page: {name}", **page, "plan": _plan(queries[0], user)}))
    _tell("worst p95 of a page", worst, "ms")


def _queries() -> dict[str, list[str]]:
    chance = random.Random(3)
    choose = chance.choice
    highest = AuditEntry.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    some = list(
        AuditEntry.objects.filter(pk__in=[chance.randint(1, highest) for _ in range(CALLS)])
    )
    request_ids = [entry.request_id for entry in some]
    operations = [entry.operation_id for entry in some if entry.operation_id]
    moments = [entry.created_at.isoformat().replace("+00:00", "Z") for entry in some]
    make: dict[str, Callable[[], str]] = {
        "newest": lambda: "",
        "deep, anywhere": lambda: f"until={choose(moments)}",
        "agent": lambda: f"agent={choose(simulated_audit.AGENTS)}",
        "engine": lambda: f"engine={choose(simulated_audit.ENGINES)}",
        "actor": lambda: f"actor={choose(simulated_audit.ACTORS)}/ci",
        "action": lambda: f"action={choose(('conf.update', 'user.login', 'freeze.enable'))}",
        "outcome": lambda: f"outcome={choose(('succeeded', 'failed', 'unknown'))}",
        "stage": lambda: f"stage={choose(('completed', 'requested'))}",
        "status": lambda: f"status={choose((200, 403, 418))}",
        "kind of actor": lambda: f"actor_kind={choose(('token', 'controller'))}",
        "nothing of it": lambda: "outcome=cancelled",
        "target": lambda: f"target=agent:{choose(simulated_audit.AGENTS)}",
        "request": lambda: f"request_id={choose(request_ids)}",
        "operation": lambda: f"operation={choose(operations)}",
        "since and until": lambda: "since={}&until={}".format(
            *sorted((choose(moments), choose(moments)))
        ),
        "agent, until": lambda: f"agent={choose(simulated_audit.AGENTS)}&until={choose(moments)}",
        "agent, action": lambda: f"agent={choose(simulated_audit.AGENTS)}&action=conf.update",
        "engine, outcome": lambda: f"engine={choose(simulated_audit.ENGINES)}&outcome=failed",
        "actor, rare outcome": lambda: f"actor={choose(simulated_audit.ACTORS)}/ci&outcome=unknown",
        "actor, no such outcome": lambda: (
            f"actor={choose(simulated_audit.ACTORS)}/ci&outcome=cancelled"
        ),
        "outcome, status, action": lambda: "outcome=failed&status=403&action=bypass.add",
        "engine, agent of another": lambda: (
            f"engine=engine-1&agent={choose(simulated_audit.AGENTS[::10])}"
        ),
        "text in half of all": lambda: "text=freeze",
        "text, rare": lambda: "text=needle-in-the",
        "text, some": lambda: f"text=value {chance.randrange(1000, 10_000)}",
        "text in none": lambda: "text=nowhere-at-all",
        "text, agent": lambda: f"text=max_local&agent={choose(simulated_audit.AGENTS)}",
        "oldest first, engine": lambda: f"ordering=id&engine={choose(simulated_audit.ENGINES)}",
    }
    return {name: [one() for _ in range(CALLS)] for name, one in make.items()}


def _timed(queries: Sequence[str], user: User) -> dict[str, float]:
    """Milliseconds of the list view, from the parsed request to the JSON."""
    taken = []
    for query in queries:
        started = time.perf_counter()
        _page(query, user)
        taken.append((time.perf_counter() - started) * 1000)
    taken.sort()
    return {"p50": taken[len(taken) // 2], "p95": taken[int(len(taken) * 0.95)]}


def _page(query: str, user: User) -> None:
    request = APIRequestFactory().get(f"/api/v1/audit/?{query}", headers={"host": "localhost"})
    force_authenticate(request, user)
    response = AuditViewSet.as_view({"get": "list"})(request)
    response.render()
    if response.status_code != 200:
        raise RuntimeError(f"{query}: {response.content!r}")


def _plan(query: str, user: User) -> str:
    """The steps of the query of the page."""
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, *more: Any) -> Any:
        if "document" in sql and "LIMIT" in sql:
            seen.append((sql, params))
        return execute(sql, params, *more)

    with connection.execute_wrapper(note):
        _page(query, user)
    if not seen:
        return ""
    sql, params = seen[-1]
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", params)
        steps = [str(row[-1]).strip() for row in cursor.fetchall()]
    return "; ".join(step for step in steps if "Filter" not in step)[:300]


def _measure_verification() -> None:
    hashed = max(_hash_rate() for _ in range(2))
    started = time.perf_counter()
    report = verify(key_ring(), heads_directory())
    elapsed = time.perf_counter() - started
    if report.problem is not None:
        raise RuntimeError(report.problem.message)
    _tell("hashing alone", hashed, "entries a second")
    _tell("verifying", report.entries / elapsed, "entries a second")
    _tell("verifying / hashing alone", report.entries / elapsed / hashed, "")


def _hash_rate() -> float:
    """Entries a second, of bytes that are in memory."""
    key = key_ring().hmac_key(chain.FIRST_KEY)
    data = [
        authenticated(document, number, key_id.decode(), previous.decode())
        for number, key_id, previous, _, document in islice(rows_after(0), 50_000)
    ]
    digest = hmac.digest
    started = time.perf_counter()
    for one in data:
        digest(key, one, "sha256")
    return len(data) / (time.perf_counter() - started)


def _tell(name: str, value: float, unit: str) -> None:
    print(json.dumps({"name": name, "value": value, "unit": unit}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
