"""Reading a request by its endpoint: query string and body."""

import asyncio
from typing import NamedTuple

from starlette.requests import Request

from engine.agent.workers import Work, Workers
from engine.contract import (
    MAX_BODY_BYTES,
    BodyTooLarge,
    ContractError,
    Endpoint,
    UnsupportedMediaType,
    Values,
    parse_json_object,
    parse_query,
    read_parameters,
)
from engine.contract.values import shorten

MAX_QUERY_BYTES = 60 << 10
"""Longest query string that is read, in bytes: uvicorn's parser takes no longer
URL than 64 KiB."""
BODY_SECONDS = 30.0
"""How long a caller may take to send a body."""

# Above this, reading holds the event loop for more than a millisecond.
_MOST_READ_AT_ONCE = 8 << 10


class Arguments(NamedTuple):
    """What the caller sent, typed."""

    values: Values
    body: dict[str, object]


class QueryTooLong(ContractError):
    """The query string is longer than any that the contract needs."""

    def __init__(self) -> None:
        super().__init__(
            414,
            "Query string too long",
            f"At most {MAX_QUERY_BYTES} bytes of query string are read. "
            "Write consecutive slots as ranges.",
        )


class BodyTooSlow(ContractError):
    """The body did not arrive in time."""

    def __init__(self) -> None:
        super().__init__(
            408, "Request timeout", f"The body did not arrive within {BODY_SECONDS:g} seconds."
        )


async def read_arguments(request: Request, endpoint: Endpoint, workers: Workers) -> Arguments:
    """Parameters and body of the request; what the endpoint does not take is not
    looked at. Raises ContractError, and starlette's ClientDisconnect."""
    query = request.scope["query_string"] if endpoint.parameters else b""
    if len(query) > MAX_QUERY_BYTES:
        raise QueryTooLong
    body = await _read_body(request) if endpoint.body_schema is not None else b""
    if len(query) + len(body) > _MOST_READ_AT_ONCE:
        return await workers.run(Work.PARSING, _parse, endpoint, query, body)
    return _parse(endpoint, query, body)


def _parse(endpoint: Endpoint, query: bytes, body: bytes) -> Arguments:
    values = read_parameters(endpoint, parse_query(query)) if endpoint.parameters else {}
    document = parse_json_object(body) if endpoint.body_schema is not None else {}
    return Arguments(values, document)


async def _read_body(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(shorten(content_type))
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise BodyTooLarge(len(body), MAX_BODY_BYTES)
    except TimeoutError:
        raise BodyTooSlow from None
    return bytes(body)
