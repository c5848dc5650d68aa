"""`/health`, `/openapi.json`."""

from engine.agent.call import Call, Handler
from engine.agent.openapi import document
from engine.agent.own_endpoints import HEALTH, OPENAPI


async def show_health(call: Call) -> dict[str, object]:
    return {"status": "ok"}


async def show_openapi(call: Call) -> dict[str, object]:
    return document()


HANDLERS: dict[str, Handler] = {
    HEALTH.operation_id: show_health,
    OPENAPI.operation_id: show_openapi,
}
