"""`/chunk_statistics/*`."""

from collections.abc import Mapping

from engine.agent.call import Call, Handler
from engine.agent.components import lookup_clients
from engine.agent.workers import Work
from engine.contract import ContractError
from engine.lookup import StatisticsUnavailable
from engine.lookup.statistics import ChunkStatistics

_FRESH_SECONDS = 0.5
"""How long an answer waits for what was looked up just before."""


async def start_statistics(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, _statistics(call).start)
    return _done("Started")


async def stop_statistics(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, _statistics(call).stop)
    return _done("Stopped")


async def reset_statistics(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, _statistics(call).reset)
    return _done("Reset")


async def show_statistics(call: Call) -> Mapping[str, object]:
    return await call.agent.workers.run(Work.REPORT, _fresh_status, _statistics(call))


def _fresh_status(statistics: ChunkStatistics) -> Mapping[str, object]:
    statistics.flush(_FRESH_SECONDS)
    return statistics.status()


def _statistics(call: Call) -> ChunkStatistics:
    try:
        return lookup_clients(call.agent, call.endpoint).statistics
    except StatisticsUnavailable:
        raise ContractError(400, "Not available", "Client does not support statistics.") from None


def _done(message: str) -> dict[str, object]:
    return {"status": "success", "message": message}


HANDLERS: dict[str, Handler] = {
    "start_chunk_statistics": start_statistics,
    "stop_chunk_statistics": stop_statistics,
    "reset_chunk_statistics": reset_statistics,
    "get_chunk_statistics_status": show_statistics,
}
