"""`/freeze/*`."""

from engine.agent.call import Call, Handler
from engine.agent.workers import Work


async def enable_freeze(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, call.cache.freeze)
    return _answer(frozen=True, message="Freeze mode enabled successfully")


async def disable_freeze(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, call.cache.unfreeze)
    return _answer(frozen=False, message="Freeze mode disabled successfully")


async def show_freeze(call: Call) -> dict[str, object]:
    frozen = call.cache.frozen
    return _answer(frozen=frozen, message=f"Freeze mode is {'enabled' if frozen else 'disabled'}")


def _answer(*, frozen: bool, message: str) -> dict[str, object]:
    return {"status": "success", "freeze": frozen, "message": message}


HANDLERS: dict[str, Handler] = {
    "enable_freeze": enable_freeze,
    "disable_freeze": disable_freeze,
    "get_freeze_status": show_freeze,
}
