"""Somebody edits the database's file, past the database."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
USERS = 12


def manage(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=clean_environment(KVPLANE_DATA_DIR=str(directory), **environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def installation(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("installation")
    assert manage(directory, "migrate", "-v0").returncode == 0
    make = (
        "import uuid; from controlplane.accounts.services import create_user; "
        "from controlplane.accounts.models import UserRole; "
        "from controlplane.audit.commands import command_actor; "
        f"[create_user(username=f'user{{n}}', password='correct-horse-battery', "
        "role=UserRole.VIEWER, actor=command_actor('shell'), request_id=uuid.uuid4().hex) "
        f"for n in range({USERS})]; "
        "from controlplane.audit.heads import head_writer; head_writer().write()"
    )
    made = manage(directory, "shell", "-c", make)
    assert made.returncode == 0, made.stderr
    checked = manage(directory, "verify_audit", "--json")
    assert checked.returncode == 0, checked.stderr
    # The migrations, and the shell before and after.
    assert json.loads(checked.stdout)["entries"] == USERS + 3
    return directory


def documents(directory: Path) -> list[tuple[int, bytes]]:
    with sqlite3.connect(directory / "kvplane.sqlite3") as database:
        rows = database.execute("SELECT id, CAST(document AS BLOB) FROM audit_auditentry")
        found = rows.fetchall()
    database.close()
    return found


@pytest.mark.parametrize("seed", range(6))
def test_verify_audit__byte_of_the_file_is_changed__names_the_entry(
    installation, tmp_path, seed
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(installation, copy)
    chance = random.Random(seed)
    number, document = chance.choice(documents(copy)[:-1])
    path = copy / "kvplane.sqlite3"
    content = bytearray(path.read_bytes())
    begin = content.index(document)
    # The first makes it no JSON any more, the second no UTF-8.
    place = begin + (0 if seed < 2 else chance.randrange(len(document)))
    content[place] ^= {0: 1, 1: 128}.get(seed, chance.randrange(1, 256))
    path.write_bytes(content)

    checked = manage(copy, "verify_audit")

    assert checked.returncode == 1, checked.stderr
    assert f"Entry {number} was changed" in checked.stderr


def test_verify_audit__older_copy_of_the_file_is_put_back__signed_head_tells(
    installation, tmp_path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(installation, copy)
    older = (copy / "kvplane.sqlite3").read_bytes()
    more = manage(
        copy, "create_user", "later", "--role", "viewer", KVPLANE_PASSWORD="correct-horse-battery"
    )
    assert more.returncode == 0, more.stderr
    sign = "from controlplane.audit.heads import head_writer; head_writer().write()"
    assert manage(copy, "shell", "-c", sign).returncode == 0
    (copy / "kvplane.sqlite3").write_bytes(older)

    checked = manage(copy, "verify_audit")

    assert checked.returncode == 1
    assert "The log was cut" in checked.stderr
