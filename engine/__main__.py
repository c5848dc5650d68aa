"""`python -m engine`: agents that stand alone, with KV caches of their own."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from engine.agent.agent import Agent
from engine.agent.listening import AddressUnavailable
from engine.agent.server import Listener, run
from engine.agent.standalone import open_listeners
from engine.config import FILE_VARIABLE, KEYS, ConfigError, ConfigKey, EngineConfig, ValueType
from engine.contract.version import version

_DESCRIPTION = f"""\
Serves KVPlane agents: a scheduler and its workers, each on a port of its own,
each worker with a paged KV cache and CPU memory for KV chunks.

Every setting can also stand in a YAML file (--config, or {FILE_VARIABLE}) and
in the environment (KVPLANE_ and the name in capitals). Flags win over the
environment, the environment over the file. Give tokens by file or environment:
other users of this machine can read flags.
"""

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "which agents": ("serve_scheduler", "worker_ids", "world_size", "lmcache_instance_id"),
    "HTTP API": ("internal_api_server_*", "agent_token"),
    "lookup": (
        *("enable_async_loading", "enable_scheduler_bypass_lookup", "hit_miss_ratio"),
        *("lookup_*", "pin_*"),
    ),
    "chunk statistics": ("enable_chunk_statistics", "chunk_statistics_*"),
    "control plane": ("controlplane_url", "enrolment_token"),
    "KV cache of a worker": (
        *("model_name", "num_layers", "num_kv_heads", "head_size", "kv_dtype"),
        *("block_size", "num_blocks", "use_mla", "device"),
    ),
}
_OTHERS = "storing and retrieving"
_SWITCH_SECONDS = 0.0005


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM. The exit code: 0, 1 if an address cannot be
    listened on, 2 if the configuration cannot be used."""
    flags = vars(_parser().parse_args(arguments))
    file = flags.pop("config")
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # They say at every step what the agent's own log says better.
    for chatty in ("httpx", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

    def load() -> EngineConfig:
        return EngineConfig.load(file, os.environ, flags=flags)

    try:
        listeners = open_listeners(load)
    except AddressUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _favour_short_answers()
    run(listeners, _announce)
    for listener in listeners:
        listener.agent.close()
    _leave_at_once_if_busy(listeners)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine",
        usage="%(prog)s [--config FILE] [--SETTING VALUE ...]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version())
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="YAML file.")
    groups = {title: parser.add_argument_group(title) for title in (*_GROUPS, _OTHERS)}
    for key in KEYS.values():
        option = groups[_group_of(key.name)].add_argument(
            f"--{key.name.replace('_', '-')}",
            metavar=key.type.value.upper(),
            help=_help_of(key).replace("%", "%%"),
        )
        if key.type is ValueType.BOOL:
            # A switch may stand alone: --use-mla means --use-mla true.
            option.nargs, option.const = "?", "true"
    return parser


def _group_of(name: str) -> str:
    for title, patterns in _GROUPS.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return title
    return _OTHERS


def _help_of(key: ConfigKey) -> str:
    choices = "" if key.choices is None else f" One of {', '.join(key.choices)}."
    default = "" if key.default is None else f" Default: {_written(key.default)}."
    return f"{key.help}{choices}{default}"


def _written(value: object) -> str:
    """A value as it would be written in a flag."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def _favour_short_answers() -> None:
    """Let the event loop run soon, whatever the worker threads do.

    A thread that wants the interpreter waits a switch interval at most, 5 ms by
    default, and an answer takes several turns. A full garbage collection that
    walks through all of torch stops every thread for a tenth of a second; what
    lives now lives to the end.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()


def _announce(agent: Agent, url: str) -> None:
    sys.stdout.write(f"KVPlane agent {agent.name} listens on {url}\n")
    sys.stdout.flush()


def _leave_at_once_if_busy(listeners: Sequence[Listener]) -> None:
    """Python would wait for threads that nobody waits for any more, such as one
    that hashes a large chunk."""
    if any(listener.agent.workers.busy for listener in listeners):
        logging.getLogger(__name__).warning("Stopped in the middle of a transfer or checksum.")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
