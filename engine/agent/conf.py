"""`/conf`, `/conf/schema`."""

from engine.agent.call import Call, Handler
from engine.agent.selection import select
from engine.agent.workers import Work
from engine.config import ConfigUpdate
from engine.contract import ContractError


class UpdateRefused(ContractError):
    """Some keys, or with `atomic` all, were not set. The documented body of this
    error says per key what was set and why not."""

    def __init__(self, update: ConfigUpdate) -> None:
        super().__init__(400, "Config update refused", f"{len(update.errors)} keys were not set.")
        self._update = update

    def body(self) -> dict[str, object]:
        return {"updated": self._update.updated, "errors": self._update.errors}


async def show_configuration(call: Call) -> dict[str, object]:
    return select(
        call.agent.config.snapshot(),
        call.values,
        error="Unknown config",
        noun="configuration key",
        path=call.endpoint.path,
    )


async def update_configuration(call: Call) -> dict[str, object]:
    config = call.agent.config
    change = config.update_atomically if call.values["atomic"] is True else config.update
    # Subscribers run within the update and may wait for a lock.
    update = await call.agent.workers.run(Work.CHANGE, change, call.body)
    if update.errors:
        raise UpdateRefused(update)
    return {"updated": update.updated}


async def show_configuration_schema(call: Call) -> object:
    return call.agent.config.schema()


HANDLERS: dict[str, Handler] = {
    "get_conf": show_configuration,
    "update_conf": update_configuration,
    "get_conf_schema": show_configuration_schema,
}
