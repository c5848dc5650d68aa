"""An operation over many agents against one asyncio.gather of bare httpx calls to
them: from sending the request to the last outcome on record."""

import asyncio
import time
from collections.abc import Iterator
from statistics import median

import httpx

from benchmarks.report import Result
from benchmarks.simulated import SimulatedStack, controlplane, simulated_agents

ROUNDS = 7
COUNTS = (64, 256)
ACTIONS = ("enable", "disable")


def measure() -> Iterator[Result]:
    """Both in turn, round by round."""
    for count in COUNTS:
        with simulated_agents(count) as stack, controlplane(stack):
            rounds = []
            with httpx.Client(headers=stack.headers, trust_env=False, timeout=60) as api:
                for number in range(ROUNDS + 1):
                    verb = ACTIONS[number % 2]
                    rounds.append((_operate(api, stack, verb), asyncio.run(_gather(stack, verb))))
            del rounds[0]
            ours, bare = (median(column) * 1000 for column in zip(*rounds, strict=True))
            print(f"  {count} agents: operation {ours:.0f} ms, bare gather {bare:.0f} ms")
            yield Result(
                f"operation over {count} agents / asyncio.gather of bare httpx calls",
                median(a / b for a, b in rounds),
                2.0,
                higher_is_better=False,
            )


def _operate(api: httpx.Client, stack: SimulatedStack, verb: str) -> float:
    started = time.perf_counter()
    answer = api.post(
        f"{stack.controlplane_url}/api/v1/operations/?wait=60",
        json={
            "action": f"freeze.{verb}",
            "selector": {"everybody": True},
            "concurrency": min(256, len(stack.urls)),
        },
    )
    took = time.perf_counter() - started
    if answer.json().get("state") != "succeeded":
        raise RuntimeError(answer.text[:500])
    return took


async def _gather(stack: SimulatedStack, verb: str) -> float:
    """Seconds for all calls, over connections that are open already."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(trust_env=False, limits=limits, timeout=60) as client:
        await asyncio.gather(*(client.get(f"{url}/health") for url in stack.urls))
        started = time.perf_counter()
        answers = await asyncio.gather(*(client.put(f"{url}/freeze/{verb}") for url in stack.urls))
        took = time.perf_counter() - started
    if any(answer.status_code != 200 for answer in answers):
        raise RuntimeError("an agent did not answer")
    return took
