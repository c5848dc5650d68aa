"""`/lookup/*`."""

import secrets
import time
from typing import cast

import numpy as np

from engine.agent.call import Call, Handler
from engine.agent.components import lookup_clients
from engine.agent.workers import Work
from engine.contract import ContractError, InvalidParameter, TokenRange
from engine.contract.lookup_endpoints import MAX_QUERY_TOKENS
from engine.lookup import NOBODY, LookupUnavailable, Replacement


async def show_lookup(call: Call) -> dict[str, object]:
    lookup = call.agent.lookup
    return {"client": lookup.client_name, "server": lookup.server_name, "role": lookup.role}


async def close_lookup(call: Call) -> dict[str, object]:
    lookup = call.agent.lookup
    if _is_dry(call):
        return {"old": lookup.name, **_end(call)}
    old = await call.agent.workers.run(Work.WAITING_CHANGE, lookup.close)
    return {"old": old, **_end(call)}


async def create_lookup(call: Call) -> dict[str, object]:
    old, new = await _replace(call)
    if old == NOBODY:
        return {"new": new, **_end(call)}
    return {"old": old, "new": new, **_end(call)}


async def recreate_lookup(call: Call) -> dict[str, object]:
    old, new = await _replace(call)
    return {"old": old, "new": new, **_end(call)}


async def query_lookup(call: Call) -> dict[str, object]:
    clients = lookup_clients(call.agent, call.endpoint)
    tokens = cast(TokenRange, call.values["tokens_mock"])
    num_tokens = tokens.end - tokens.start
    if num_tokens > MAX_QUERY_TOKENS:
        raise InvalidParameter(
            "tokens_mock",
            f"'tokens_mock' names {num_tokens} tokens; ask about at most {MAX_QUERY_TOKENS}.",
        )
    # Callers may repeat a request id; a repeated lookup of one request would not count.
    request_id = f"{call.request_id}/{secrets.token_hex(8)}"

    def find() -> tuple[int, float]:
        started = time.perf_counter()
        found = clients.find_mock(np.arange(tokens.start, tokens.end), request_id)
        return found, time.perf_counter() - started

    num_hit, seconds = await call.agent.workers.run(Work.LOOKUP, find)
    return {
        "status": "success",
        "num_tokens": num_tokens,
        "num_hit": num_hit,
        "client": clients.client_name,
        "seconds": seconds,
    }


async def _replace(call: Call) -> Replacement:
    lookup = call.agent.lookup
    change = lookup.preview if _is_dry(call) else lookup.create
    try:
        return await call.agent.workers.run(Work.WAITING_CHANGE, change)
    except LookupUnavailable as error:
        raise ContractError(400, "Lookup unavailable", str(error)) from None


def _is_dry(call: Call) -> bool:
    return call.values["dryrun"] is True


def _end(call: Call) -> dict[str, object]:
    """How every answer to a change ends."""
    role = call.agent.lookup.role
    return {"dryrun": True, "role": role} if _is_dry(call) else {"role": role}


HANDLERS: dict[str, Handler] = {
    "get_lookup_info": show_lookup,
    "close_lookup": close_lookup,
    "create_lookup": create_lookup,
    "recreate_lookup": recreate_lookup,
    "query_lookup": query_lookup,
}
