"""Telling a control plane that this agent exists, and that it ends.

In the background: an agent serves whether or not its control plane answers.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from engine.agent.agent import Agent
from engine.config.secrecy import HIDDEN

logger = logging.getLogger(__name__)

ENROL_PATH = "/api/v1/enrol"
LEAVE_PATH = "/api/v1/enrol/leave"
FAREWELL_SECONDS = 2.0
"""How long an agent that ends waits for its control plane at most."""
_ANSWER_SECONDS = 10.0
# So much of an answer is read, and shown: whatever answers may never come to an end.
_READ_BYTES = 4_096
_SHOWN_CHARACTERS = 500
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
    async with _client() as client:
        for delay in (backoff or Backoff()).delays():
            if await _is_settled(client, target, request, agent.name):
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
        async with _client() as client:
            answer = await _send(client, target, request, FAREWELL_SECONDS)
    except (httpx.HTTPError, TimeoutError) as error:
        logger.warning("Control plane not told that %s ends: %r.", agent.name, error)
        return
    if httpx.codes.is_success(answer.status):
        logger.info("Told the control plane that %s ends.", agent.name)
        return
    logger.warning(
        "The control plane did not take that %s ends (%d): %r.",
        agent.name,
        answer.status,
        answer.said,
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
    """A control plane, and the secrets that it is told."""

    url: str
    enrolment_token: str
    agent_token: str | None

    def request(self, path: str, document: dict[str, object]) -> httpx.Request:
        headers = {
            "authorization": f"Bearer {self.enrolment_token}",
            "user-agent": "kvplane-agent",
            "accept-encoding": "identity",
        }
        return httpx.Request("POST", self.url.rstrip("/") + path, headers=headers, json=document)

    def without_secrets(self, text: str) -> str:
        """The text as it may be logged: some servers say again what they were told."""
        for secret in (self.enrolment_token, self.agent_token):
            if secret is not None:
                text = text.replace(secret, HIDDEN)
        return text


class _Answer(NamedTuple):
    """What came back: the beginning of a body that is no success, and the header
    `location`; both may be empty."""

    status: int
    said: str
    location: str


def _target_of(agent: Agent) -> _Target | None:
    """None if the configuration lacks the control plane or the enrolment token."""
    url, token = agent.config.controlplane_url, agent.config.enrolment_token
    if url is None or token is None:
        return None
    return _Target(url, token, agent.config.agent_token)


def _client() -> httpx.AsyncClient:
    """Trusts the authorities of certifi, this machine's, and those that OpenSSL's
    variables SSL_CERT_FILE and SSL_CERT_DIR name."""
    trusted = httpx.create_ssl_context(trust_env=False)
    trusted.load_default_certs()
    return httpx.AsyncClient(trust_env=False, timeout=None, verify=trusted)  # noqa: S113


async def _send(
    client: httpx.AsyncClient, target: _Target, request: httpx.Request, seconds: float
) -> _Answer:
    """Send once. Raises httpx.HTTPError, and TimeoutError after that many seconds."""
    async with asyncio.timeout(seconds):
        answer = await client.send(request, stream=True)
        try:
            beginning = await _beginning(answer)
        finally:
            await answer.aclose()
    location = answer.headers.get("location", "")
    return _Answer(
        answer.status_code,
        # Cut last, so that no part of a secret is left at the end.
        target.without_secrets(beginning.decode("utf-8", "replace"))[:_SHOWN_CHARACTERS],
        target.without_secrets(location)[:_SHOWN_CHARACTERS],
    )


async def _beginning(answer: httpx.Response) -> bytes:
    """The body as far as it is of interest. Undecoded: compressed, a little would be
    much."""
    if answer.is_success:
        return b""
    beginning = bytearray()
    async for part in answer.aiter_raw():
        beginning += part
        if len(beginning) >= _READ_BYTES:
            break
    return bytes(beginning)


async def _is_settled(
    client: httpx.AsyncClient, target: _Target, request: httpx.Request, name: str
) -> bool:
    """Ask once. True if asking again cannot change the answer."""
    try:
        answer = await _send(client, target, request, _ANSWER_SECONDS)
    except (httpx.HTTPError, TimeoutError) as error:
        logger.warning("Control plane not reached to register %s: %r; will retry.", name, error)
        return False
    if httpx.codes.is_success(answer.status):
        logger.info("Registered %s with the control plane at %s.", name, request.url.host)
        return True
    if httpx.codes.is_client_error(answer.status) and answer.status not in _PASSING:
        logger.error(
            "The control plane refused to register %s (%d): %r. Correct controlplane_url "
            "or enrolment_token and restart this agent, or register it by hand.",
            name,
            answer.status,
            answer.said,
        )
        return True
    logger.warning(
        "The control plane answered %d when registering %s; will retry. %s",
        answer.status,
        name,
        _remedy(answer),
    )
    return False


def _remedy(answer: _Answer) -> str:
    if httpx.codes.is_redirect(answer.status):
        return (
            f"It sends us to {answer.location!r}, where no token is taken unasked; if the control "
            "plane is there, set controlplane_url to it and restart this agent."
        )
    return f"It said {answer.said!r}."


def _warn_if_readable(controlplane: str) -> None:
    parts = urlsplit(controlplane)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        logger.warning(
            "controlplane_url is not https: tokens cross the network to %s readable.",
            parts.hostname,
        )
