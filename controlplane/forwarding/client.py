"""The pooled HTTP client for agents.

It drives httpx's transport directly: redirects, cookies, proxies from the
environment and content decoding are not wanted here, and leaving httpx.Client
out halves the cost of a call.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from threading import Condition

import httpx
from django.conf import settings

from controlplane.fleet.models import Agent, Dialect
from controlplane.fleet.vault import UnreadableToken
from controlplane.forwarding import dialects
from controlplane.forwarding.answers import (
    AgentAnswer,
    AgentBusy,
    AgentFailure,
    AgentTimeout,
    AgentUnreachable,
    BadAgentAnswer,
    NotCallable,
    StateAfter,
)
from controlplane.forwarding.deadlines import DeadlineTransport
from controlplane.forwarding.dialects import RawAnswer
from engine.contract import Endpoint

# Below uvicorn's five seconds, so that a connection is dropped here before the
# agent drops it under a request.
_KEEPALIVE_S = 4.0
_MAX_CONNECTIONS = 256
_FAN_OUT = 32
_PATIENCE_S = 0.25
_LOST_CONNECTION = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
# Nothing was sent: no connection, or no name or request that could be sent.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,
)


class AgentClient:
    """Sends calls over `transport`, which takes timeouts as DeadlineTransport
    does. Answers above `max_answer_bytes` are refused, and so are calls beyond
    `max_calls_per_agent` at once to one URL; None: no limit."""

    def __init__(
        self,
        transport: httpx.BaseTransport,
        max_answer_bytes: int,
        max_calls_per_agent: int | None = None,
    ) -> None:
        self._transport = transport
        self._max_answer_bytes = max_answer_bytes
        self._max_calls = max_calls_per_agent
        self._calls: dict[str, int] = {}
        self._calls_changed = Condition()

    def send(
        self,
        agent: Agent,
        endpoint: Endpoint,
        *,
        query: str,
        body: bytes | None,
        request_id: str,
        timeout: float,
    ) -> AgentAnswer:
        """Call one agent and read its answer as the contract has it.

        `query` is the raw query string, `timeout` the seconds for all of it.
        Error answers of the agent are answers too. Raises AgentBusy,
        AgentUnreachable, AgentTimeout, BadAgentAnswer and NotCallable.
        """
        dialect = Dialect(agent.dialect)
        dialects.check_supported(dialect, endpoint, query, agent.name)
        started = time.perf_counter()
        deadline = started + timeout
        try:
            with self._counted(agent):
                request = self._build(agent, endpoint, query, body, request_id, deadline)
                raw = self._exchange(request, deadline)
        except _NOT_SENT as error:
            raise AgentUnreachable(agent.name, _why(error)) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise AgentTimeout(agent.name, timeout, _state_after(endpoint)) from error
        except (httpx.TransportError, _TooLong) as error:
            raise BadAgentAnswer(agent.name, _why(error), _state_after(endpoint)) from error
        duration_ms = (time.perf_counter() - started) * 1000
        return dialects.read_answer(dialect, endpoint, query, agent.name, raw, duration_ms)

    def send_all(
        self,
        agents: Sequence[Agent],
        endpoint: Endpoint,
        *,
        query: str,
        body: bytes | None,
        request_id: str,
        timeout: float,
    ) -> list[AgentAnswer | AgentFailure]:
        """Call all agents at once, each with its own timeout; results in the
        order of `agents`."""

        def call(agent: Agent) -> AgentAnswer | AgentFailure:
            try:
                return self.send(
                    agent,
                    endpoint,
                    query=query,
                    body=body,
                    request_id=request_id,
                    timeout=timeout,
                )
            except AgentFailure as failure:
                return failure

        if len(agents) <= 1:
            return [call(agent) for agent in agents]
        with ThreadPoolExecutor(min(len(agents), _FAN_OUT), "fan-out") as pool:
            return list(pool.map(call, agents))

    def _build(
        self,
        agent: Agent,
        endpoint: Endpoint,
        query: str,
        body: bytes | None,
        request_id: str,
        deadline: float,
    ) -> httpx.Request:
        base = _base_url(agent.url)
        target = f"{endpoint.path}?{query}" if query else endpoint.path
        headers = {
            "Host": base.netloc.decode("ascii"),
            "Accept": "*/*",
            "X-Request-ID": request_id,
        }
        token = _bearer_token(agent)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        return httpx.Request(
            endpoint.method,
            base.copy_with(raw_path=target.encode("ascii")),
            headers=headers,
            content=body,
            extensions={
                "timeout": {"connect": deadline, "read": deadline, "write": deadline, "pool": None}
            },
        )

    @contextmanager
    def _counted(self, agent: Agent) -> Iterator[None]:
        """Wait for a turn, shortly: a burst to an agent that answers gets through,
        one that hangs does not collect the threads of all. Raises AgentBusy."""
        url, limit = agent.url, self._max_calls
        with self._calls_changed:
            if limit is not None and not self._calls_changed.wait_for(
                lambda: self._calls.get(url, 0) < limit, _PATIENCE_S
            ):
                raise AgentBusy(agent.name, limit)
            self._calls[url] = self._calls.get(url, 0) + 1
        try:
            yield
        finally:
            with self._calls_changed:
                self._calls[url] -= 1
                if not self._calls[url]:
                    del self._calls[url]
                self._calls_changed.notify_all()

    def _exchange(self, request: httpx.Request, deadline: float) -> RawAnswer:
        try:
            return self._exchange_once(request, deadline)
        except _LOST_CONNECTION:
            # An agent that restarted leaves dead connections in the pool. A
            # read may be sent again; a change may have been made already.
            if request.method != "GET":
                raise
            return self._exchange_once(request, deadline)

    def _exchange_once(self, request: httpx.Request, deadline: float) -> RawAnswer:
        left = deadline - time.perf_counter()
        if left <= 0:
            raise TimeoutError
        # Unlike the others, the pool's timeout is a number of seconds.
        request.extensions["timeout"]["pool"] = left
        response = self._transport.handle_request(request)
        try:
            parts = []
            length = 0
            for part in response.stream:  # type: ignore[union-attr]
                length += len(part)
                if length > self._max_answer_bytes:
                    raise _TooLong(self._max_answer_bytes)
                parts.append(part)
        finally:
            response.close()
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return RawAnswer(response.status_code, media_type, b"".join(parts))


class _TooLong(Exception):
    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is longer than {limit} bytes")


def _bearer_token(agent: Agent) -> str:
    try:
        return agent.bearer_token()
    except UnreadableToken as error:
        raise NotCallable(error.status, error.error, error.message, agent.name) from error


@lru_cache(maxsize=4096)
def _base_url(url: str) -> httpx.URL:
    return httpx.URL(url)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _state_after(endpoint: Endpoint) -> StateAfter:
    return StateAfter.UNCHANGED if endpoint.action is None else StateAfter.UNKNOWN


@cache
def shared_client() -> AgentClient:
    """The one client of this process, with its connection pool."""
    limits = httpx.Limits(
        max_connections=_MAX_CONNECTIONS,
        max_keepalive_connections=_MAX_CONNECTIONS,
        keepalive_expiry=_KEEPALIVE_S,
    )
    return AgentClient(
        DeadlineTransport(limits),
        settings.KVPLANE_MAX_ANSWER_BYTES,
        settings.KVPLANE_MAX_CALLS_PER_AGENT,
    )


def send(
    agent: Agent,
    endpoint: Endpoint,
    *,
    query: str,
    body: bytes | None,
    request_id: str,
    timeout: float,
) -> AgentAnswer:
    """AgentClient.send with the client of this process."""
    return shared_client().send(
        agent, endpoint, query=query, body=body, request_id=request_id, timeout=timeout
    )


def send_all(
    agents: Sequence[Agent],
    endpoint: Endpoint,
    *,
    query: str,
    body: bytes | None,
    request_id: str,
    timeout: float,
) -> list[AgentAnswer | AgentFailure]:
    """AgentClient.send_all with the client of this process."""
    return shared_client().send_all(
        agents, endpoint, query=query, body=body, request_id=request_id, timeout=timeout
    )
