"""What the fleet page costs: a whole page of 500 agents, as a browser asks for it."""

import re
import sys
import time
from collections.abc import Iterator
from statistics import median

import httpx

from benchmarks.report import Result
from benchmarks.simulated import SimulatedStack, controlplane, simulated_agents
from tests.support.controlplane import PASSWORD
from tests.support.processes import running

COUNTS = (50, 500)
PAGES = 12
_WARM_UP = 3
_DEADLINE_S = 180.0


def measure() -> Iterator[Result]:
    """Agents that were polled, so that every column has something to tell."""
    seconds = {count: _page_of(count) for count in COUNTS}
    for count, page in seconds.items():
        print(f"  {count} agents: {page * 1000:.0f} ms a page")
    yield Result("fleet page of 500 agents, seconds", seconds[500], 1.0, higher_is_better=False)
    yield Result(
        "growth of the fleet page from 50 to 500 agents / linear",
        seconds[500] / seconds[50] / 10,
        1.1,
        higher_is_better=False,
    )


def _page_of(count: int) -> float:
    with simulated_agents(count) as stack:
        command = [sys.executable, "manage.py", "runcontroller"]
        log = stack.directory / "controller.log"
        with controlplane(stack), httpx.Client(trust_env=False, timeout=60) as client:
            _log_in(client, stack)
            with running(command, stack.environment, log, []):
                _wait_until_all_are_online(client, stack, count)
            return median(_seconds(client, stack) for _ in range(_WARM_UP + PAGES))


def _log_in(client: httpx.Client, stack: SimulatedStack) -> None:
    url = f"{stack.controlplane_url}/api/auth/login/"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(url).text)
    if token is None:
        raise RuntimeError("the login page has no form")
    form = {"username": "bench", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    if client.post(url, data=form).status_code != 302:
        raise RuntimeError("could not log in")


def _wait_until_all_are_online(client: httpx.Client, stack: SimulatedStack, count: int) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while f"{count} online" not in client.get(f"{stack.controlplane_url}/dashboard/").text:
        if time.monotonic() > deadline:
            raise RuntimeError((stack.directory / "controller.log").read_text()[-2000:])
        time.sleep(1)


def _seconds(client: httpx.Client, stack: SimulatedStack) -> float:
    began = time.perf_counter()
    page = client.get(f"{stack.controlplane_url}/dashboard/")
    if page.status_code != 200:
        raise RuntimeError(page.text[:2000])
    return time.perf_counter() - began
