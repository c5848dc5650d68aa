"""Checks of single values beyond type and range, and of values together."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit

import httpx

from engine.config.errors import ConfigError, InvalidValueError
from engine.config.secrecy import HIDDEN, sounds_secret

_HIGHEST_PORT = 65_535


def bearer_token(value: object) -> None:
    """A token must survive an HTTP header unchanged (RFC 9110, section 5.5)."""
    if not all("!" <= character <= "~" for character in str(value)):
        raise InvalidValueError("must be visible ASCII characters without blanks")


def one_line(value: object) -> None:
    """Names stand in log lines and in chunk keys."""
    if not str(value).isprintable():
        raise InvalidValueError("must be printable characters on one line")


def http_url(value: object) -> None:
    """A base URL that requests are sent to, without credentials."""
    try:
        parts = urlsplit(str(value))
        port_is_valid = parts.port is None or parts.port > 0
        # What the client that will use it cannot take apart fails here, not later.
        can_be_called = bool(httpx.URL(str(value)).host)
    except (ValueError, httpx.InvalidURL):
        raise InvalidValueError("must be a URL such as https://kvplane.example:8000") from None
    if (
        parts.scheme not in ("http", "https")
        or not (parts.hostname and port_is_valid and can_be_called)
        or any(character in str(value) for character in "?# ")
    ):
        raise InvalidValueError("must be a URL such as https://kvplane.example:8000")
    if parts.username is not None or parts.password is not None:
        raise InvalidValueError("must not hold a user name or a password")


def disk_directories(value: object) -> None:
    """One or more absolute paths; `file://` before one is LMCache's way to write it."""
    for path in split_directories(str(value)):
        if not path.startswith("/"):
            raise InvalidValueError("must be absolute paths, separated by commas")


def split_directories(value: str) -> list[str]:
    """The paths in a value of `local_disk`."""
    return [item.strip().removeprefix("file://") for item in value.split(",")]


def absolute_path(value: object) -> None:
    """A path that means the same whatever the working directory is."""
    if not str(value).startswith("/"):
        raise InvalidValueError("must be an absolute path")


def lookup_urls(value: object) -> None:
    """Addresses of ZeroMQ sockets."""
    for url in cast("list[str]", value):
        transport, separator, address = url.partition("://")
        if not separator or transport not in ("tcp", "ipc"):
            raise InvalidValueError(f"'{url}' must be tcp://host:port or ipc:///path")
        if transport == "ipc":
            absolute_path(address)
            continue
        try:
            parts = urlsplit(url)
            complete = bool(parts.hostname) and bool(parts.port) and not parts.path
        except ValueError:
            complete = False
        if not complete:
            raise InvalidValueError(f"'{url}' must be tcp://host:port")


def remote_url(value: object) -> None:
    """Any URL with a scheme; the connector of that scheme checks the rest."""
    try:
        parts = urlsplit(str(value))
        has_scheme = bool(parts.scheme) and "://" in str(value)
    except ValueError:
        has_scheme = False
    if not has_scheme:
        raise InvalidValueError("must be a URL such as redis://host:6379 or fs:///shared/kv")


def hide_credentials(value: object) -> str:
    """The URL with user name, password and secrets in its query as "***"."""
    url = str(value)
    parts = urlsplit(url)
    location = parts.netloc
    if location and "@" not in location and "@" in url:
        # A password with a character that ends the host: what stands before the @ may be it.
        return f"{parts.scheme}://{HIDDEN}@{url.rpartition('@')[2]}"
    if "@" in location:
        # Taking the URL apart and putting it together would lose an empty host.
        shown = f"{HIDDEN}@{location.rpartition('@')[2]}"
        url = url.replace(f"//{location}", f"//{shown}", 1)
    query = "&".join(
        f"{name}={HIDDEN}" if sounds_secret(name) else part
        for part in parts.query.split("&")
        for name in [part.partition("=")[0]]
    )
    return url.replace(f"?{parts.query}", f"?{query}", 1)


def check_beside(name: str, value: object, values: Mapping[str, object]) -> None:
    """Refuse a value of one key that contradicts the values of others. Raises
    InvalidValueError."""
    if name == "lookup_server_worker_ids":
        world_size = cast(int, values["world_size"])
        for worker_id in cast("list[int]", value or []):
            if worker_id >= world_size:
                raise InvalidValueError(
                    f"names worker {worker_id}, but 'world_size' is {world_size}; use ids from 0 "
                    f"to {world_size - 1}"
                )


def check_together(values: Mapping[str, object]) -> None:
    """Refuse values that are each allowed and contradict each other."""
    world_size = cast(int, values["world_size"])
    worker_ids = cast("list[int]", values["worker_ids"])
    for worker_id in worker_ids:
        if worker_id >= world_size:
            raise ConfigError(
                f"'worker_ids' names worker {worker_id}, but 'world_size' is {world_size}; "
                f"use ids from 0 to {world_size - 1} or raise 'world_size'."
            )
    if len(set(worker_ids)) != len(worker_ids):
        raise ConfigError("'worker_ids' names a worker twice; name each once.")
    port_start = cast(int, values["internal_api_server_port_start"])
    if port_start + world_size > _HIGHEST_PORT:
        raise ConfigError(
            f"'internal_api_server_port_start' is {port_start}, which leaves no ports for "
            f"{world_size} workers; use at most {_HIGHEST_PORT - world_size}."
        )
    if values["use_mla"] and values["num_kv_heads"] != 1:
        raise ConfigError(
            f"'num_kv_heads' is {values['num_kv_heads']}, but with 'use_mla' all heads share "
            "one latent vector; set 'num_kv_heads' to 1."
        )
    if values["local_disk"] is not None and not values["max_local_disk_size"]:
        raise ConfigError(
            "'local_disk' is set, but 'max_local_disk_size' is 0; say how many GiB it may take."
        )
    for name, value in values.items():
        try:
            check_beside(name, value, values)
        except InvalidValueError as error:
            raise ConfigError(f"'{name}' {error}.") from error
    _check_lookup_urls(values)


def _check_lookup_urls(values: Mapping[str, object]) -> None:
    urls = cast("list[str] | None", values["lookup_server_urls"])
    if urls is None:
        return
    world_size = cast(int, values["world_size"])
    if len(urls) != world_size:
        raise ConfigError(
            f"'lookup_server_urls' has {len(urls)} addresses, but 'world_size' is {world_size}; "
            "give one for each worker."
        )
    if len(set(urls)) != len(urls):
        raise ConfigError("'lookup_server_urls' has an address twice; give each worker its own.")
    if values["agent_token"] is None:
        for url in urls:
            if url.startswith("tcp://") and not is_loopback(urlsplit(url).hostname or ""):
                raise ConfigError(
                    f"'lookup_server_urls' has {url}, which other machines can reach; set "
                    "'agent_token', which then also encrypts lookups, or use a loopback address."
                )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost
    may mean anything."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
