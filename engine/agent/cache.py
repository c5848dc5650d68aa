"""`/cache/*` without the checksums."""

from typing import cast

from engine.agent.bypass import unknown_backend
from engine.agent.call import Call, Handler
from engine.agent.workers import Work
from engine.cache import TooManyTokens
from engine.contract import InvalidParameter, TokenRange
from engine.storage import UnknownBackend


async def clear_cache(call: Call) -> dict[str, object]:
    locations = cast(list[str], call.values.get("locations", []))
    try:
        removed = await call.agent.workers.run(Work.WAITING_CHANGE, call.cache.clear, locations)
    except UnknownBackend as error:
        raise unknown_backend(error) from None
    return {"status": "success", "num_removed": sum(removed.values()), "removed": removed}


async def store_cache(call: Call) -> dict[str, object]:
    tokens = cast(TokenRange, call.values["tokens_mock"])
    try:
        result = await call.agent.workers.run(
            Work.TRANSFER, call.cache.store_mock, tokens, call.request_id
        )
    except TooManyTokens as error:
        raise _too_many_tokens(error) from None
    return {
        "status": "success",
        "num_tokens": result.num_tokens,
        "num_stored": result.num_stored,
    }


async def retrieve_cache(call: Call) -> dict[str, object]:
    tokens = cast(TokenRange, call.values["tokens_mock"])
    try:
        result = await call.agent.workers.run(
            Work.TRANSFER, call.cache.retrieve_mock, tokens, call.request_id
        )
    except TooManyTokens as error:
        raise _too_many_tokens(error) from None
    return {
        "status": "success",
        "num_tokens": result.num_tokens,
        "num_retrieved": result.num_retrieved,
    }


async def record_slot(call: Call) -> dict[str, object]:
    if "enabled" in call.values:
        switch = (
            call.cache.enable_slot_logging
            if call.values["enabled"] is True
            else call.cache.disable_slot_logging
        )
        await call.agent.workers.run(Work.CHANGE, switch)
    return {"status": "success", "kvcache_check_log_enabled": call.cache.slot_logging}


async def show_kvcache(call: Call) -> dict[str, object]:
    layers = call.cache.kvcache_info()
    return {"status": "success", "num_layers": len(layers), "layers": layers}


def _too_many_tokens(error: TooManyTokens) -> InvalidParameter:
    return InvalidParameter(
        "tokens_mock",
        f"'tokens_mock' names {error.num_tokens} tokens but the KV cache has "
        f"{error.num_slots} slots; ask for at most {error.num_slots}.",
    )


HANDLERS: dict[str, Handler] = {
    "clear_cache": clear_cache,
    "store_cache": store_cache,
    "retrieve_cache": retrieve_cache,
    "record_slot": record_slot,
    "get_kvcache_info": show_kvcache,
}
