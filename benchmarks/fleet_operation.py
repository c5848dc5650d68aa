"""An operation over many agents against one asyncio.gather of bare httpx calls to
them: from sending the request to the last outcome on record.

httpx is called twice: with one client for all agents, as one does, and with a client
for each agent, since the pool of one client slows down with its size. Connections are
open already in every case.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from statistics import median

import httpx

from benchmarks.report import Result
from benchmarks.simulated import SimulatedStack, controlplane, simulated_agents

ROUNDS = 7
COUNTS = (64, 256)
ACTIONS = ("enable", "disable")


def measure() -> Iterator[Result]:
    """All in turn, round by round."""
    for count in COUNTS:
        with simulated_agents(count) as stack, controlplane(stack):
            rounds = []
            with httpx.Client(headers=stack.headers, trust_env=False, timeout=60) as api:
                for number in range(ROUNDS + 1):
                    verb = ACTIONS[number % 2]
                    ours = _operate(api, stack, verb)
                    one = asyncio.run(_gather([stack.urls], verb))
                    each = asyncio.run(_gather([[url] for url in stack.urls], verb))
                    rounds.append((ours, one, each))
            del rounds[0]
            ours, one, each = (median(column) * 1000 for column in zip(*rounds, strict=True))
            print(
                f"  {count} agents: operation {ours:.0f} ms, gather with one client {one:.0f} ms, "
                f"with a client for each agent {each:.0f} ms: "
                f"{median(a / c for a, _, c in rounds):.2f} of the latter"
            )
            yield Result(
                f"operation over {count} agents / asyncio.gather of bare httpx calls",
                median(a / b for a, b, _ in rounds),
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


async def _gather(parts: Sequence[Sequence[str]], verb: str) -> float:
    """Seconds for a call to every URL, with one client for each part."""
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=600
    )
    async with AsyncExitStack() as opened:
        calls = []
        for urls in parts:
            client = await opened.enter_async_context(
                httpx.AsyncClient(trust_env=False, verify=False, limits=limits, timeout=60)
            )
            calls += [(client, url) for url in urls]
        await asyncio.gather(*(client.get(f"{url}/health") for client, url in calls))
        started = time.perf_counter()
        answers = await asyncio.gather(
            *(client.put(f"{url}/freeze/{verb}") for client, url in calls)
        )
        took = time.perf_counter() - started
    if any(answer.status_code != 200 for answer in answers):
        raise RuntimeError("an agent did not answer")
    return took
