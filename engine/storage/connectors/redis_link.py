"""From a URL to a redis-py client, for one server and for a cluster.

What the URL may say is redis-py's (https://redis.io/docs/latest/develop/clients/redis-py/connect/):
user, password, host, port and database, and the parameters in `_PARAMETERS`.
Everything that decides how long a call may take is set here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from redis import BlockingConnectionPool, Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.retry import Retry

from engine.storage.connectors.connector import InvalidRemoteURL

_MAX_CONNECTIONS = 16
_DEFAULT_PORT = 6379
_SOCKET_READ_BYTES = 1 << 20
_CLUSTER_SUFFIX = "+cluster"
_PARAMETERS = frozenset(
    {
        "client_name",
        "db",
        "password",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
        "username",
    }
)
_CERTIFICATE_REQUIREMENTS = frozenset({"none", "optional", "required"})

Client = Any
"""redis.Redis or redis.RedisCluster. Their annotations are unions of what commands
may return in every mode of redis-py."""


class Link(Protocol):
    """Makes clients for one URL and one timeout in seconds."""

    def open(self, timeout_s: float) -> Client:
        """A client; for a cluster this asks for the topology."""

    def servers(self, client: Client) -> list[Client]:
        """A client for each server that holds keys of its own."""


class ServerLink:
    """One server, or a proxy that looks like one."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def open(self, timeout_s: float) -> Client:
        pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]
            timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            **_bounded(timeout_s),
            **self._options,
        )
        return Redis.from_pool(pool)

    def servers(self, client: Client) -> list[Client]:
        return [client]


class ClusterLink:
    """A cluster, found by one of its nodes."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = dict(options)
        self._node = (given.pop("host"), given.pop("port", _DEFAULT_PORT))
        if given.pop("db", 0) != 0:
            raise InvalidRemoteURL("A cluster has no database but 0; name none in the remote URL.")
        if given.pop("connection_class", None) is not None:
            given["ssl"] = True
        self._options = given

    def open(self, timeout_s: float) -> Client:
        return RedisCluster(
            startup_nodes=[ClusterNode(*self._node)],  # type: ignore[no-untyped-call]
            # The node of the URL may be a name that stands for all of them.
            dynamic_startup_nodes=False,
            retry=Retry(NoBackoff(), 0),
            reinitialize_steps=1,
            **_bounded(timeout_s),
            **self._options,
        )

    def servers(self, client: Client) -> list[Client]:
        return [client.get_redis_connection(node) for node in client.get_primaries()]


def link_of(url: str) -> Link:
    """The link that a URL asks for. Raises InvalidRemoteURL."""
    scheme, _, rest = url.partition("://")
    plain_scheme = scheme.lower().removesuffix(_CLUSTER_SUFFIX)
    options = _options_of(f"{plain_scheme}://{rest}")
    make: Callable[[Mapping[str, Any]], Link]
    make = ClusterLink if scheme.lower().endswith(_CLUSTER_SUFFIX) else ServerLink
    return make(options)


def _bounded(timeout_s: float) -> dict[str, Any]:
    return {
        "max_connections": _MAX_CONNECTIONS,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_read_size": _SOCKET_READ_BYTES,
        "socket_keepalive": True,
        # RESP2 needs no handshake, and every server and proxy speaks it.
        "protocol": 2,
        "driver_info": None,
    }


def _options_of(url: str) -> dict[str, Any]:
    # What urllib and redis-py say about a URL quotes pieces of it, a password too.
    try:
        parts = urlsplit(url)
        path = parts.path.strip("/")
        unknown = sorted(parse_qs(parts.query, keep_blank_values=True).keys() - _PARAMETERS)
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise InvalidRemoteURL(
            "The remote URL is not redis://[[user]:[password]@]host[:port][/database]; "
            "special characters in it are written as %xx."
        ) from None
    if parts.hostname is None:
        raise InvalidRemoteURL("The remote URL names no host.")
    if unknown:
        raise InvalidRemoteURL(
            f"The remote URL has the parameter '{unknown[0]}'; "
            f"available: {', '.join(sorted(_PARAMETERS))}."
        )
    if path and not path.isdecimal():
        raise InvalidRemoteURL("The path of the remote URL must be a database's number.")
    if "connection_class" not in options and any(name.startswith("ssl_") for name in options):
        raise InvalidRemoteURL("The remote URL has TLS parameters; its scheme must be 'rediss'.")
    if options.get("ssl_cert_reqs", "required") not in _CERTIFICATE_REQUIREMENTS:
        raise InvalidRemoteURL("'ssl_cert_reqs' must be 'none', 'optional' or 'required'.")
    return options
