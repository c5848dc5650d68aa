"""Completion in a real bash, and the documentation that is made from the parsers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.controlplane.commands.running import run
from tests.support.processes import ROOT, clean_environment, manage

_TRY = """
source "$1"
shift
complete -p manage.py >/dev/null || exit 9
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_kvplane manage.py "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "manage.bash"
    path.write_text(run("completion", "bash").out)
    return path


@pytest.fixture
def complete(script, tmp_path):
    def complete(*words: str, **environment: str) -> list[str]:
        # The program as it is typed, with the interpreter of these tests.
        finished = subprocess.run(
            ["bash", "-c", _TRY, "bash", str(script), "./manage.py", *words],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fre"], {"freeze"}),
        (["freeze", ""], {"enable", "disable", "status"}),
        (["freeze", "enable", "--exp"], {"--expires-in", "--expires-at"}),
        (["freeze", "enable", "--role", ""], {"scheduler", "worker"}),
        (["export_audit", "--format", ""], {"csv", "jsonl"}),
        (["migr"], {"migrate"}),
        (["freeze", "enable", "--all", "--dry"], {"--dry-run"}),
    ],
)
def test_bash__words_so_far__offers_what_can_follow(complete, words, expected):
    assert set(complete(*words)) == expected


@pytest.mark.slow
def test_bash__name_of_an_agent_or_engine__comes_from_the_database(complete, tmp_path):
    settings = clean_environment(KVPLANE_DATA_DIR=str(tmp_path))
    manage(settings, "migrate", "--verbosity", "0")
    for number in (0, 1):
        manage(
            settings,
            *("register_agent", f"w{number}", f"http://127.0.0.1:700{number}"),
            *("--engine", "prod", "--role", "worker", "--worker-id", str(number)),
        )
    data = {"KVPLANE_DATA_DIR": str(tmp_path), "DATABASE_URL": ""}

    assert complete("freeze", "enable", "--agent", "", **data) == ["w0", "w1"]
    assert complete("conf", "history", "--agent", "w1", **data) == ["w1"]
    assert complete("agents", "show", "", **data) == ["w0", "w1"]
    assert complete("agents", "list", "--engine", "p", **data) == ["prod"]


def test_zsh__script__begins_as_zsh_wants_it():
    script = run("completion", "zsh").out

    assert script.startswith("#compdef manage.py\n")
    assert "_kvplane_agents" in script


def test_documentation__is_what_the_parsers_say():
    documented = (ROOT / "docs" / "commands.md").read_text()

    assert run("document_commands").out == documented, "make docs"


def test_documentation__every_command_of_ours_is_in_it():
    documented = (ROOT / "docs" / "commands.md").read_text()
    ours = [name for name, app in get_commands().items() if str(app).startswith("controlplane.")]

    assert len(ours) > 20
    assert all(f"\n## {name}\n" in documented for name in ours)
