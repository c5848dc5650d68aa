"""Telling a control plane that this agent exists, and that it ends.

In the background: an agent serves whether or not its control plane answers.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from engine.agent.agent import Agent

logger = logging.getLogger(__name__)

ENROL_PATH = "/api/v1/enrol"
LEAVE_PATH = "/api/v1/enrol/leave"
FAREWELL_SECONDS = 2.0
"""How long an agent that ends waits for its control plane at most."""
_ANSWER_SECONDS = 10.0
# Refusals that pass by themselves (RFC 9110, 15.5.9; RFC 6585, 4).
_PASSING = frozenset({408, 429})


@dataclass(frozen=True)
class Backoff:
    """Capped exponential delays with full jitter, in seconds: a fleet that lost
    its control plane does not come back in step."""

    first: float = 1.0
    most: float = 60.0

    def delays(self) -> Iterator[float]:
        """Endless delays, each random up to a bound that doubles to `most`."""
        bound = self.first
        while True:
            # Half of the bound at least, so that a retry never follows at once.
            yield random.uniform(bound / 2, bound)  # noqa: S311 - spreads load, guards nothing
            bound = min(bound * 2, self.most)


async def register(agent: Agent, url: str, backoff: Backoff | None = None) -> None:
    """Register the agent, reachable at `url`, until the control plane says yes,
    or no for good. Returns at once if the configuration names no control plane
    or no enrolment token. Never raises for what the control plane does."""
    target = _target_of(agent)
    if target is None:
        return
    _warn_if_readable(target.url)
    request = target.request(ENROL_PATH, registration_of(agent, url))
    async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
        for delay in (backoff or Backoff()).delays():
            if await _is_settled(client, request, agent.name):
                return
            await asyncio.sleep(delay)


async def deregister(agent: Agent) -> None:
    """Tell the control plane, once, that this process ends. Returns within
    FAREWELL_SECONDS, and at once if the configuration names no control plane or no
    enrolment token. Never raises for what the control plane does."""
    target = _target_of(agent)
    if target is None:
        return
    request = target.request(LEAVE_PATH, departure_of(agent))
    try:
        async with (
            asyncio.timeout(FAREWELL_SECONDS),
            httpx.AsyncClient(trust_env=False) as client,
        ):
            answer = await client.send(request)
    except (httpx.HTTPError, TimeoutError) as error:
        logger.warning("Control plane not told that %s ends: %r.", agent.name, error)
        return
    if answer.is_success:
        logger.info("Told the control plane that %s ends.", agent.name)
        return
    logger.warning(
        "The control plane did not take that %s ends (%d): %.500r.",
        agent.name,
        answer.status_code,
        answer.text,
    )


def departure_of(agent: Agent) -> dict[str, object]:
    """What the control plane is told at the end. `agent_token` proves that it is
    this agent's own word, `boot_id` which of its starts has ended."""
    return {
        "name": agent.name,
        "agent_token": agent.config.agent_token,
        "boot_id": agent.boot_id,
    }


def registration_of(agent: Agent, url: str) -> dict[str, object]:
    """What the control plane is told. `agent_token` is None if calls need none."""
    return {
        "name": agent.name,
        "url": url,
        "role": agent.metadata.role.value,
        "worker_id": agent.metadata.worker_id,
        "engine": agent.metadata.instance_id,
        "instance_id": agent.metadata.instance_id,
        "agent_token": agent.config.agent_token,
        "dialect": "kvplane",
        "boot_id": agent.boot_id,
    }


@dataclass(frozen=True)
class _Target:
    """A control plane and the token that it is told things with."""

    url: str
    token: str

    def request(self, path: str, document: dict[str, object]) -> httpx.Request:
        return httpx.Request(
            "POST",
            self.url.rstrip("/") + path,
            headers={"authorization": f"Bearer {self.token}", "user-agent": "kvplane-agent"},
            json=document,
        )


def _target_of(agent: Agent) -> _Target | None:
    """None if the configuration lacks the control plane or the enrolment token."""
    url, token = agent.config.controlplane_url, agent.config.enrolment_token
    return None if url is None or token is None else _Target(url, token)


async def _is_settled(client: httpx.AsyncClient, request: httpx.Request, name: str) -> bool:
    """Ask once. True if asking again cannot change the answer."""
    try:
        answer = await client.send(request)
    except httpx.HTTPError as error:
        logger.warning("Control plane not reached to register %s: %r; will retry.", name, error)
        return False
    if answer.is_success:
        logger.info("Registered %s with the control plane at %s.", name, request.url.host)
        return True
    if answer.is_client_error and answer.status_code not in _PASSING:
        logger.error(
            "The control plane refused to register %s (%d): %.500r. Correct controlplane_url "
            "or enrolment_token and restart this agent, or register it by hand.",
            name,
            answer.status_code,
            answer.text,
        )
        return True
    logger.warning(
        "The control plane answered %d when registering %s; will retry.", answer.status_code, name
    )
    return False


def _warn_if_readable(controlplane: str) -> None:
    parts = urlsplit(controlplane)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        logger.warning(
            "controlplane_url is not https: tokens cross the network to %s readable.",
            parts.hostname,
        )
