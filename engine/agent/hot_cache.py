"""`/hot_cache/*`."""

from engine.agent.call import Call, Handler
from engine.agent.workers import Work


async def enable_hot_cache(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, call.cache.enable_hot_cache)
    return _answer(hot=True, message="Hot cache enabled successfully")


async def disable_hot_cache(call: Call) -> dict[str, object]:
    await call.agent.workers.run(Work.CHANGE, call.cache.disable_hot_cache)
    return _answer(hot=False, message="Hot cache disabled successfully")


async def show_hot_cache(call: Call) -> dict[str, object]:
    hot = call.cache.hot_cache_enabled
    return _answer(hot=hot, message=f"Hot cache is {'enabled' if hot else 'disabled'}")


def _answer(*, hot: bool, message: str) -> dict[str, object]:
    return {"status": "success", "hot_cache": hot, "message": message}


HANDLERS: dict[str, Handler] = {
    "enable_hot_cache": enable_hot_cache,
    "disable_hot_cache": disable_hot_cache,
    "get_hot_cache_status": show_hot_cache,
}
