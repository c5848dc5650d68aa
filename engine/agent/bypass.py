"""`/bypass/*`."""

from typing import cast

from engine.agent.call import Call, Handler
from engine.agent.workers import Work
from engine.contract import ContractError
from engine.contract.values import shorten
from engine.storage import UnknownBackend


async def list_bypassed(call: Call) -> dict[str, object]:
    return {
        "status": "success",
        "bypassed_backends": call.cache.bypassed,
        "all_backends": list(call.cache.backends),
    }


async def add_bypass(call: Call) -> dict[str, object]:
    name = _backend_name(call)
    try:
        was_bypassed = await call.agent.workers.run(Work.CHANGE, call.cache.bypass, name)
    except UnknownBackend as error:
        raise unknown_backend(error) from None
    return {
        "status": "success",
        "backend_name": name,
        "bypassed": True,
        "was_already_bypassed": was_bypassed,
        "bypassed_backends": call.cache.bypassed,
    }


async def remove_bypass(call: Call) -> dict[str, object]:
    name = _backend_name(call)
    try:
        was_bypassed = await call.agent.workers.run(Work.CHANGE, call.cache.stop_bypass, name)
    except UnknownBackend as error:
        raise unknown_backend(error) from None
    return {
        "status": "success",
        "backend_name": name,
        "bypassed": False,
        "was_bypassed": was_bypassed,
        "bypassed_backends": call.cache.bypassed,
    }


def unknown_backend(error: UnknownBackend) -> ContractError:
    """The answer to a call that names a backend that this engine does not have."""
    return ContractError(
        400,
        "Unknown backend",
        f"Backend '{shorten(error.name)}' not found. Available: {list(error.available)}",
    )


def _backend_name(call: Call) -> str:
    return cast(str, call.values["backend_name"]).strip()


HANDLERS: dict[str, Handler] = {
    "list_bypassed": list_bypassed,
    "add_bypass": add_bypass,
    "remove_bypass": remove_bypass,
}
