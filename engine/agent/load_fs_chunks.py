"""`/cache/load-fs-chunks`."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from engine.agent.call import Call, Handler
from engine.agent.workers import Work
from engine.config import EngineConfig
from engine.contract import ContractError
from engine.contract.values import shorten
from engine.storage import InvalidRemoteURL
from engine.storage.connectors.fs import directory_of
from engine.storage.preload import HotCacheClosed

_ERROR = "Failed to load chunks from FSConnector"
_DEFAULT_FAILED_KEYS = 10
_MAX_CONFIG_BYTES = 1 << 20
_MAX_SHOWN = 4096
_NO_LIMIT = 1 << 62


class _Order(NamedTuple):
    config_path: str
    max_chunks: int
    max_failed_keys: int


class CannotLoad(ContractError):
    """The chunk files cannot be found, or not be taken."""

    def __init__(self, config_path: str, message: str) -> None:
        super().__init__(400, _ERROR, message, {"config_path": config_path[:_MAX_SHOWN]})


async def load_fs_chunks(call: Call) -> dict[str, object]:
    order = _read_order(call.body)
    return await call.agent.workers.run(Work.TRANSFER, _load, call, order)


def _load(call: Call, order: _Order) -> dict[str, object]:
    root = _chunk_directory(call.agent.config, order.config_path)
    try:
        report = call.cache.load_chunk_files(
            root,
            max_chunks=order.max_chunks,
            max_failed_keys=order.max_failed_keys,
            go_on=lambda: not call.agent.workers.abandoned,
        )
    except OSError as error:
        raise CannotLoad(
            order.config_path,
            f"The directory of 'remote_url' cannot be read: {error.strerror or error}.",
        ) from None
    except HotCacheClosed as error:
        raise CannotLoad(
            order.config_path,
            f"LocalCPUBackend takes no chunks ({error.reason.value}); unfreeze it, enable the hot "
            "cache or stop the bypass first.",
        ) from None
    return {"status": "success", **report._asdict(), "config_path": order.config_path}


def _read_order(body: Mapping[str, object]) -> _Order:
    path = body.get("config_path")
    if not isinstance(path, str) or not path.strip():
        raise CannotLoad(
            "" if path is None else str(path),
            "'config_path' is required: the path of a YAML file whose remote_url is fs://.",
        )
    return _Order(
        path,
        _NO_LIMIT if body.get("max_chunks") is None else _count(body, path, "max_chunks"),
        _DEFAULT_FAILED_KEYS
        if body.get("max_failed_keys") is None
        else _count(body, path, "max_failed_keys"),
    )


def _count(body: Mapping[str, object], path: str, name: str) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CannotLoad(
            path, f"'{name}' must be an integer of at least 0, not {shorten(str(value))}."
        )
    return value


def _chunk_directory(config: EngineConfig, config_path: str) -> Path:
    """The directory that the file's remote_url names. Raises CannotLoad."""
    path = _permitted(config, config_path)
    try:
        if path.exists() and not path.is_file():
            # Opening a pipe would wait for whoever writes to it.
            raise CannotLoad(
                config_path, "Configuration file cannot be read: it is no regular file."
            )
        with path.open("rb") as file:
            document = yaml.safe_load(file.read(_MAX_CONFIG_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise CannotLoad(config_path, "Configuration file not found") from None
    except OSError as error:
        raise CannotLoad(
            config_path, f"Configuration file cannot be read: {error.strerror}."
        ) from None
    except (ValueError, RecursionError, yaml.YAMLError):
        raise CannotLoad(config_path, "Configuration file is not YAML.") from None
    url = document.get("remote_url") if isinstance(document, dict) else None
    if not isinstance(url, str):
        raise CannotLoad(config_path, "The configuration file names no 'remote_url'.")
    if not url.startswith("fs://"):
        raise CannotLoad(config_path, "The configuration file's 'remote_url' is not an fs:// one.")
    try:
        return directory_of(url)
    except InvalidRemoteURL as error:
        raise CannotLoad(config_path, str(error)) from None


def _permitted(config: EngineConfig, config_path: str) -> Path:
    """The file's real path. Raises CannotLoad outside the permitted directories, whether
    or not the file is there: a caller must not learn what lies elsewhere."""
    try:
        path = Path(config_path).resolve()
    except (OSError, ValueError, RuntimeError):
        raise CannotLoad(config_path, "'config_path' is not a path.") from None
    if not any(path.is_relative_to(directory) for directory in _directories(config)):
        raise CannotLoad(
            config_path,
            "'config_path' lies in none of the directories that the agent's key 'config_dirs' "
            "names; move the file or have the key changed.",
        )
    return path


def _directories(config: EngineConfig) -> list[Path]:
    if config.config_dirs is not None:
        return [Path(directory).resolve() for directory in config.config_dirs]
    own = [] if config.file is None else [config.file.parent.resolve()]
    return [Path.cwd(), *own]


HANDLERS: dict[str, Handler] = {"load_fs_chunks": load_fs_chunks}
