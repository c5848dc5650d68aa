"""`/cache/kvcache/check`."""

import json
from collections.abc import Sequence
from typing import cast

from starlette.requests import ClientDisconnect

from engine.agent.call import Call, EncodedJSON, Handler
from engine.agent.workers import Work
from engine.contract import ContractError, InvalidParameter, SlotRun, compress_slots, count_slots
from engine.device import SlotOutOfBounds, SlotsUnreadable, split_runs

MAX_DIGESTS = 1_000_000
"""Most digests in one answer, which then has 35 MB."""

# How many slots are hashed before the next caller has a turn.
_SLOTS_A_TURN = 4_096
# A longer answer would hold the event loop for more than a millisecond.
_MOST_DIGESTS_WRITTEN_AT_ONCE = 10_000


async def check_kvcache(call: Call) -> object:
    runs = cast(list[SlotRun], call.values["slot_mapping"])
    chunk_size = cast(int, call.values["chunk_size"])
    layerwise = call.values["layerwise"] is True
    num_chunks = -(-count_slots(runs) // chunk_size)
    num_digests = num_chunks * (len(call.cache.kvcache_info()) if layerwise else 1)
    _check_size(num_digests)
    ranges = await call.agent.workers.run(Work.PARSING, _checked_ranges, call, runs)
    compute = _layerwise_checksums if layerwise else _checksums
    try:
        checksums = await compute(call, runs, chunk_size)
    except SlotsUnreadable as error:
        raise ContractError(400, "Not available", str(error)) from None
    answer = {
        "status": "success",
        "slot_mapping_ranges": ranges,
        "chunk_size": chunk_size,
        "num_chunks": num_chunks,
        "chunk_checksums": checksums,
        "layerwise": layerwise,
    }
    if num_digests + len(ranges) > _MOST_DIGESTS_WRITTEN_AT_ONCE:
        return await call.agent.workers.run(Work.PARSING, _encode, answer)
    return answer


def _check_size(num_digests: int) -> None:
    if num_digests > MAX_DIGESTS:
        raise ContractError(
            400,
            "Invalid parameter",
            f"'chunk_size': the answer would have {num_digests} checksums; at most "
            f"{MAX_DIGESTS} are given. Raise chunk_size or name fewer slots.",
        )


def _checked_ranges(call: Call, runs: list[SlotRun]) -> list[int | list[int]]:
    try:
        call.cache.kv_cache.check_slots(runs)
    except SlotOutOfBounds as error:
        raise InvalidParameter("slot_mapping", f"'slot_mapping': {error}") from None
    return compress_slots(runs)


async def _checksums(call: Call, runs: Sequence[SlotRun], chunk_size: int) -> list[str]:
    digests: list[str] = []
    for part in split_runs(runs, _turn(chunk_size)):
        await _check_caller(call)
        digests += await call.agent.workers.run(
            Work.CHECKSUM, call.cache.checksums, part, chunk_size
        )
    return digests


async def _layerwise_checksums(
    call: Call, runs: Sequence[SlotRun], chunk_size: int
) -> dict[str, list[str]]:
    digests: dict[str, list[str]] = {}
    for part in split_runs(runs, _turn(chunk_size)):
        await _check_caller(call)
        by_layer = await call.agent.workers.run(
            Work.CHECKSUM, call.cache.layerwise_checksums, part, chunk_size
        )
        for layer, found in by_layer.items():
            digests.setdefault(layer, []).extend(found)
    return digests


def _turn(chunk_size: int) -> int:
    """Slots of one turn: whole chunks, at least one."""
    return chunk_size * max(1, _SLOTS_A_TURN // chunk_size)


async def _check_caller(call: Call) -> None:
    """Hashing for minutes on behalf of a caller that has gone keeps others waiting."""
    if await call.is_disconnected():
        raise ClientDisconnect


def _encode(answer: dict[str, object]) -> EncodedJSON:
    # Piece by piece: json.dumps would keep every other thread from running.
    return EncodedJSON("".join(json.JSONEncoder().iterencode(answer)).encode("ascii"))


HANDLERS: dict[str, Handler] = {"check_kvcache": check_kvcache}
