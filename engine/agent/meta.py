"""`/meta`."""

from engine.agent.call import Call, Handler
from engine.agent.selection import select


async def show_metadata(call: Call) -> dict[str, object]:
    return select(
        call.agent.metadata.as_dict(),
        call.values,
        error="Unknown metadata",
        noun="metadata attribute",
        path=call.endpoint.path,
    )


HANDLERS: dict[str, Handler] = {"get_meta": show_metadata}
