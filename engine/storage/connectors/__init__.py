"""Which connector serves which URL.

Other distributions add schemes by entry points of the group `kvplane.connectors`:
the name is the scheme, the object is called with a URL and a ConnectorContext and
returns a Connector (https://packaging.python.org/en/latest/specifications/entry-points/).
A built-in scheme cannot be replaced.
"""

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import urlsplit

from engine.storage.connectors.connector import (
    Connector,
    ConnectorContext,
    ConnectorError,
    ConnectorRefusal,
    ConnectorTimeout,
    EncodedChunk,
    InvalidRemoteURL,
    namespace_digest,
)

__all__ = [
    "Connector",
    "ConnectorContext",
    "ConnectorError",
    "ConnectorRefusal",
    "ConnectorTimeout",
    "EncodedChunk",
    "InvalidRemoteURL",
    "available_schemes",
    "namespace_digest",
    "open_connector",
    "without_secrets",
]

ENTRY_POINT_GROUP = "kvplane.connectors"

# RFC 3986, 3.1
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")

_ConnectorFactory = Callable[[str, ConnectorContext], Connector]

_BUILT_IN = {
    scheme: EntryPoint(scheme, f"engine.storage.connectors.{target}", ENTRY_POINT_GROUP)
    for scheme, target in {
        "fs": "fs:FsConnector",
        "redis": "redis:RedisConnector",
        "rediss": "redis:RedisConnector",
        "redis+cluster": "redis:RedisConnector",
        "rediss+cluster": "redis:RedisConnector",
    }.items()
}


def available_schemes() -> list[str]:
    """Schemes that a remote URL may have, sorted."""
    return sorted(_entries())


def open_connector(url: str, context: ConnectorContext) -> Connector:
    """The connector for a URL, which connects when it is first used. Raises
    InvalidRemoteURL."""
    scheme = _scheme(url)
    entries = _entries()
    if scheme not in entries:
        named = f"The remote URL has the scheme '{scheme}'" if scheme else "No URL with a scheme"
        raise InvalidRemoteURL(f"{named}; available: {', '.join(sorted(entries))}.")
    try:
        factory: _ConnectorFactory = entries[scheme].load()
    except (ImportError, AttributeError) as error:
        raise InvalidRemoteURL(f"The connector for '{scheme}' cannot be loaded: {error}") from error
    return factory(url, context)


def without_secrets(url: str) -> str:
    """The URL as it may be shown: scheme, host, port and path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return f"{_scheme(url)}://"
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}{port}{parts.path}"


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator and _SCHEME.fullmatch(scheme) else ""


def _entries() -> dict[str, EntryPoint]:
    installed = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return {**installed, **_BUILT_IN}
