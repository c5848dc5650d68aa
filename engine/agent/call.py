"""What a handler gets and gives."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from engine.agent.agent import Agent
from engine.cache import CacheEngine
from engine.contract import Endpoint, Unavailable, Values


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and found valid by the catalogue. `body` is the JSON
    object sent, empty where the endpoint takes none; `is_disconnected` tells
    whether the caller has gone."""

    agent: Agent
    endpoint: Endpoint
    request_id: str
    values: Values
    body: Mapping[str, object]
    is_disconnected: Callable[[], Awaitable[bool]]

    @property
    def cache(self) -> CacheEngine:
        """The cache engine. Raises Unavailable on a process that has none."""
        return cache_engine(self.agent, self.endpoint)


class EncodedJSON(bytes):
    """An answer's content that a worker thread has written as JSON already."""


Handler = Callable[[Call], Awaitable[object]]
"""Gives the answer's content: text for a `text/plain` endpoint, else EncodedJSON
or what JSON can write. Raises ContractError for any answer but 200. A handler
that only reads memory does so on the event loop; whatever copies, hashes or waits
for a lock runs in a worker thread."""


def cache_engine(agent: Agent, endpoint: Endpoint) -> CacheEngine:
    """The agent's cache engine. Raises Unavailable if it has none."""
    if agent.cache is None:
        raise Unavailable(
            endpoint.path,
            f"This {agent.metadata.role} has no cache engine; ask a worker of "
            f"'{agent.metadata.instance_id}'.",
        )
    return agent.cache
