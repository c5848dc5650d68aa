"""What one controller costs that polls many agents every five seconds: the processor
time of its process, and how that grows with the fleet."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.report import Result
from benchmarks.simulated import SimulatedStack, simulated_agents
from tests.support.processes import running

COUNTS = (10, 100, 500, 1000)
POLL_SECONDS = 5.0
WARM_UP_ROUNDS = 3
ROUNDS = 6
_TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Result]:
    """One fleet after the other; cost is that of a settled fleet."""
    cost: dict[int, float] = {}
    for count in COUNTS:
        with simulated_agents(count) as stack:
            cost[count] = _cpu_of_a_controller(stack)
        print(
            f"  {count} agents: {cost[count] * 100:.1f} % of one core, "
            f"{cost[count] * POLL_SECONDS / count * 1000:.2f} ms a poll"
        )
    yield Result(
        "processor of a controller of 500 agents, polled every 5 s, in cores",
        cost[500],
        1.0,
        higher_is_better=False,
    )
    growth = (cost[1000] - cost[10]) / (cost[100] - cost[10])
    yield Result(
        "growth of cost from 10 to 1,000 agents / linear from 10 to 100",
        growth / ((1000 - 10) / (100 - 10)),
        1.25,
        higher_is_better=False,
    )


def _cpu_of_a_controller(stack: SimulatedStack) -> float:
    command = [sys.executable, "manage.py", "runcontroller"]
    environment = {**stack.environment, "KVPLANE_POLL_SECONDS": str(POLL_SECONDS)}
    log = stack.directory / "controller.log"
    with running(command, environment, log, []) as process:
        _wait_until_settled(stack)
        polls = _asked(stack)
        began, used = time.monotonic(), _cpu_seconds(process.pid)
        time.sleep(ROUNDS * POLL_SECONDS)
        elapsed, spent = time.monotonic() - began, _cpu_seconds(process.pid) - used
        rounds = _asked(stack) - polls
    if not ROUNDS - 1 <= rounds <= ROUNDS + 1:
        raise RuntimeError(f"{rounds} polls in {elapsed:.0f} s: the controller does not keep up")
    return spent / elapsed


def _wait_until_settled(stack: SimulatedStack) -> None:
    """Until everybody has been polled a few times, so that all is imported."""
    deadline = time.monotonic() + 180
    while _asked(stack) < WARM_UP_ROUNDS:
        if time.monotonic() > deadline:
            raise RuntimeError((stack.directory / "controller.log").read_text()[-2000:])
        time.sleep(0.5)


def _asked(stack: SimulatedStack) -> int:
    """How often the last agent was polled."""
    state = httpx.get(f"{stack.urls[-1]}/simulated/state", trust_env=False).json()
    return int(state["asked"].get("GET /agent/status", 0))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
