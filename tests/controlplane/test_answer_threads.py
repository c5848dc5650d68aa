"""Threads that answer for an event loop."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

from controlplane.answer_threads import AnswerThreads

DEADLINE_S = 10.0


class Asked:
    """Threads that answer questions with numbers."""

    def __init__(self, count: int, answer: Callable[[int], str]) -> None:
        self._threads = AnswerThreads(count)
        self._answer = answer

    def ask(self, question: int) -> "asyncio.Future[str | None]":
        return self._threads.ask(partial(self._answer, question))


def threads(count: int, answer: Callable[[int], str]) -> Asked:
    return Asked(count, answer)


def name_of_thread(question: int) -> str:
    return threading.current_thread().name


def test_ask__one_after_another__one_thread_answers_all() -> None:
    asked = threads(4, name_of_thread)

    async def ask() -> set[str]:
        return {await asked.ask(number) for number in range(50)}

    assert asyncio.run(ask()) == {"http_0"}


def test_ask__after_many_at_once__the_thread_that_was_idle_last_answers_all() -> None:
    everybody = threading.Barrier(4)

    def meet(question: int) -> str:
        if question == 0:
            everybody.wait(DEADLINE_S)
        return threading.current_thread().name

    asked = threads(4, meet)

    async def ask() -> tuple[set[str], set[str]]:
        together = {*await asyncio.gather(*(asked.ask(0) for _ in range(4)))}
        return together, {await asked.ask(number) for number in range(1, 50)}

    together, alone = asyncio.run(ask())
    assert len(together) == 4
    assert len(alone) == 1


def test_ask__more_at_once_than_threads__the_rest_wait_their_turn() -> None:
    lock = threading.Lock()
    at_once = [0, 0]
    pair = threading.Barrier(2)

    def answer(question: int) -> str:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        pair.wait(DEADLINE_S)
        with lock:
            at_once[0] -= 1
        return str(question)

    asked = threads(2, answer)

    async def ask() -> list[str]:
        return await asyncio.gather(*(asked.ask(number) for number in range(10)))

    assert asyncio.run(ask()) == [str(number) for number in range(10)]
    assert at_once[1] == 2


def test_ask__answer_raises__none_is_the_answer_and_the_thread_goes_on(caplog) -> None:
    asked = threads(1, lambda question: str(1 // question))

    async def ask() -> list[str | None]:
        return [await asked.ask(0), await asked.ask(1)]

    assert asyncio.run(ask()) == [None, "1"]
    assert "could not be answered" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_ask__nobody_waits_any_more__the_next_one_is_answered() -> None:
    left = threading.Event()

    def answer(question: int) -> str:
        if question == 0:
            left.wait(DEADLINE_S)
        return str(question)

    asked = threads(1, answer)

    async def ask() -> str:
        given_up = asked.ask(0)
        given_up.cancel()
        left.set()
        return await asked.ask(1)

    assert asyncio.run(ask()) == "1"


_LEAVES_AT_ONCE = """
import asyncio, time
from controlplane.answer_threads import AnswerThreads

def answer():
    started.set()
    # A slow answer: the process has come to its end meanwhile.
    time.sleep(0.2)
    print("finished")

async def main():
    threads.ask(answer)
    await asyncio.to_thread(started.wait)

import threading
started = threading.Event()
threads = AnswerThreads(2)
asyncio.run(main())
"""


def test_process__ends_while_an_answer_is_made__waits_for_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LEAVES_AT_ONCE],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("finished\n", "")
