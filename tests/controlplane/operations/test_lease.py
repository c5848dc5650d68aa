"""Which process works on an operation, and whether it still lives."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.operations.lease import Holder, is_abandoned, this_process
from tests.support.processes import ROOT, clean_environment

LATER = timedelta(minutes=10)


@pytest.fixture
def dead_pid() -> int:
    """Of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def abandoned(holder: Holder, left: timedelta = LATER) -> bool:
    return is_abandoned(str(holder), timezone.now() + left)


def test_holder__written_and_read__is_the_same():
    assert Holder.parse(str(this_process())) == this_process()


def test_holder__longest_name__fits_its_columns(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 253)

    assert len(str(this_process())) <= 128


def test_lease__held_by_this_process__is_not_abandoned():
    assert not abandoned(this_process())


def test_lease__run_out__is_abandoned():
    assert abandoned(this_process(), -LATER)


def test_lease__of_a_process_of_this_place_that_is_gone__is_abandoned(dead_pid):
    assert abandoned(replace(this_process(), pid=dead_pid))


def test_lease__of_an_earlier_run_with_this_number__is_abandoned():
    assert abandoned(replace(this_process(), nonce="another"))


def test_lease__same_number_in_another_container_of_that_host_name__is_held():
    assert not abandoned(replace(this_process(), place="another", nonce="another"))


def test_lease__number_that_only_another_container_has__is_held(dead_pid):
    assert not abandoned(replace(this_process(), place="another", pid=dead_pid))


def test_lease__of_a_holder_as_an_older_version_wrote_it__is_held_until_it_runs_out(dead_pid):
    owner = f"{this_process().host}:{dead_pid}:0a0b0c0d"

    assert not is_abandoned(owner, timezone.now() + LATER)
    assert is_abandoned(owner, timezone.now() - LATER)


@pytest.mark.skipif(
    subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode != 0,
    reason="no PID namespace can be made here",
)
def test_place__of_another_pid_namespace__is_another():
    code = "from controlplane.operations.lease import this_process; print(this_process())"
    command = [*("unshare", "--pid", "--fork"), sys.executable, "-c", code]
    settings = {"DJANGO_SETTINGS_MODULE": "controlplane.settings"}
    said = [
        subprocess.run(
            words,
            cwd=ROOT,
            env={**clean_environment(), **settings},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for words in (command, command[3:])
    ]
    inside, outside = (Holder.parse(text) for text in said)

    assert inside.pid == 1
    assert inside.place != this_process().place
    assert outside.place == this_process().place
    assert outside.pid != os.getpid()
    # Nobody of that number is alive here, and yet it may be.
    assert not abandoned(inside)
