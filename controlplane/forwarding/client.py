"""The client for agents: what is sent to one, and what its failures mean."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Condition

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
    state_after,
)
from controlplane.forwarding.curl import CurlTransport
from controlplane.forwarding.transport import (
    Lost,
    NotSent,
    RawAnswer,
    TimedOut,
    TooLong,
    Transport,
    WireRequest,
)
from engine.contract import Endpoint

_FAN_OUT = 32
_PATIENCE_S = 0.25


class AgentClient:
    """Sends calls over `transport`. Answers above `max_answer_bytes` are refused,
    and so are calls beyond `max_calls_per_agent` at once to one URL; None: no
    limit."""

    def __init__(
        self,
        transport: Transport,
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
                request = _build(agent, endpoint, query, body, request_id)
                raw = self._exchange(request, deadline)
        except NotSent as error:
            raise AgentUnreachable(agent.name, str(error)) from error
        except TimedOut as error:
            raise AgentTimeout(agent.name, timeout, state_after(endpoint, query)) from error
        except (Lost, TooLong) as error:
            raise BadAgentAnswer(agent.name, str(error), state_after(endpoint, query)) from error
        duration_ms = (time.perf_counter() - started) * 1000
        return dialects.read_answer(dialect, endpoint, query, agent, raw, duration_ms)

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

    def _exchange(self, request: WireRequest, deadline: float) -> RawAnswer:
        try:
            return self._exchange_once(request, deadline)
        except Lost:
            # An agent that restarted leaves dead connections behind. A read may
            # be sent again; a change may have been made already.
            if request.method != "GET":
                raise
            return self._exchange_once(request, deadline)

    def _exchange_once(self, request: WireRequest, deadline: float) -> RawAnswer:
        left = deadline - time.perf_counter()
        if left <= 0:
            raise TimedOut("the time is up")
        return self._transport.exchange(request, left, self._max_answer_bytes)


def _build(
    agent: Agent, endpoint: Endpoint, query: str, body: bytes | None, request_id: str
) -> WireRequest:
    headers = {"Accept": "*/*", "X-Request-ID": request_id}
    token = _bearer_token(agent)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    target = f"{endpoint.path}?{query}" if query else endpoint.path
    return WireRequest(endpoint.method, agent.url, target, headers, body)


def _bearer_token(agent: Agent) -> str:
    try:
        return agent.bearer_token()
    except UnreadableToken as error:
        raise NotCallable(error.status, error.error, error.message, agent.name) from error


@cache
def shared_client() -> AgentClient:
    """The one client of this process, with its kept connections."""
    return AgentClient(
        CurlTransport(), settings.KVPLANE_MAX_ANSWER_BYTES, settings.KVPLANE_MAX_CALLS_PER_AGENT
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
