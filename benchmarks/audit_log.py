"""The audit log on SQLite and on PostgreSQL: appends by sixteen writers against the
database's own commits, pages of every filter, verifying against hashing.

`KVPLANE_BENCH_AUDIT_ROWS` entries, by default 100,000; the marks are for 1,000,000.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import Result
from tests.support.postgresql_server import find_programs, running_postgresql
from tests.support.processes import ROOT, clean_environment

ROWS = os.environ.get("KVPLANE_BENCH_AUDIT_ROWS", "100000")
MARKS = {
    "appends / bare commits": (0.5, True),
    "worst p95 of a page": (50.0, False),
    "verifying / hashing alone": (0.3, True),
}


def measure() -> Iterator[Result]:
    """One database after the other."""
    with tempfile.TemporaryDirectory() as directory:
        yield from _measure("SQLite", Path(directory), {})
    programs = find_programs()
    if programs is None:
        print("  PostgreSQL is not installed: left out")
        return
    with tempfile.TemporaryDirectory() as directory, running_postgresql(programs) as url:
        yield from _measure("PostgreSQL", Path(directory), {"DATABASE_URL": url})


def _measure(database: str, directory: Path, more: dict[str, str]) -> Iterator[Result]:
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory), **more)
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
    command = [sys.executable, "-m", "benchmarks.audit_database", ROWS]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None:
            raise RuntimeError("there is no output to read")
        for line in process.stdout:
            yield from _read(database, json.loads(line))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")


def _read(database: str, told: dict[str, Any]) -> Iterator[Result]:
    name = told["name"]
    if "p95" in told:
        print(
            f"  {database} {name}: p50 {told['p50']:.1f} ms, p95 {told['p95']:.1f} ms\n"
            f"      {told['plan']}"
        )
        return
    if name not in MARKS:
        digits = 2 if "/" in name else 0
        print(f"  {database}: {name} {told['value']:,.{digits}f} {told['unit']}")
        return
    mark, higher = MARKS[name]
    yield Result(f"{database}: {name} {told['unit']}", told["value"], mark, higher)
