"""`/lmc_version`, `/commit_id`, `/version`."""

from engine.agent.call import Call, Handler
from engine.contract.version import commit_id, version


async def show_version(call: Call) -> str:
    return version()


async def show_commit(call: Call) -> str:
    return commit_id()


async def show_version_and_commit(call: Call) -> str:
    return f"{version()}-{commit_id()}"


HANDLERS: dict[str, Handler] = {
    "get_lmc_version": show_version,
    "get_commit_id": show_commit,
    "get_version": show_version_and_commit,
}
