"""Work that is done after its caller was answered: how much may wait, and what ends it."""

import logging
import subprocess
import sys
import threading

import pytest

from controlplane.backlog import Backlog
from tests.support.waiting import eventually

ENDS = """
import threading
import django
django.setup()
from controlplane.backlog import Backlog
begun = threading.Event()
backlog = Backlog("held", most=2, stop_s=0.1)
backlog.add(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
backlog.add(lambda: print("never"))
"""


def test_add__more_than_may_wait__is_dropped_and_counted(caplog) -> None:
    backlog = Backlog("held", most=2, stop_s=1)
    begun, go_on, done = threading.Event(), threading.Event(), []

    def hold() -> None:
        begun.set()
        go_on.wait(10)

    assert backlog.add(hold)
    assert begun.wait(10)
    told = [backlog.add(lambda number=number: done.append(number)) for number in range(5)]
    assert told == [True, True, False, False, False]
    go_on.set()
    eventually(lambda: done == [0, 1])
    eventually(lambda: "held: 3 were dropped" in caplog.text)


def test_add__something_broke_down__the_next_is_done_and_it_is_logged(caplog) -> None:
    backlog = Backlog("odd", most=2, stop_s=1)
    done = threading.Event()
    with caplog.at_level(logging.ERROR):
        backlog.add(lambda: [][0])
        backlog.add(done.set)
        assert done.wait(10)
    assert "odd broke down" in caplog.text


@pytest.mark.slow
def test_process_ends__work_never_does__is_not_waited_for() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60, check=True
    )
    assert "never" not in ended.stdout
