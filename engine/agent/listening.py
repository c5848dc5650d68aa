"""Sockets that the agents of a process listen on, and the URLs they have."""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from engine.config import ConfigError


class AddressUnavailable(ConfigError):
    """The configured address cannot be listened on."""


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket bound to the address, not yet listening. Raises
    AddressUnavailable naming the settings to change."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unavailable(host, port, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _unavailable(host, port, error) from error
    return bound


def _unavailable(host: str, port: int, error: OSError) -> AddressUnavailable:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return AddressUnavailable(
        f"Cannot listen on {host}, port {port}: {reason}. Stop the other process, or change "
        "internal_api_server_port_start (the scheduler's port; worker i has the port 1 + i "
        "above it) or internal_api_server_host."
    )


def url_of(bound: socket.socket, controlplane_url: str | None) -> str:
    """The base URL under which others reach the socket. For a socket on every
    interface that is the address from which this machine would call the control
    plane."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = _address_towards(controlplane_url, _families(bound))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _families(bound: socket.socket) -> list[socket.AddressFamily]:
    """How the socket can be reached: one for IPv6 may take IPv4 as well."""
    families = [bound.family]
    if bound.family is socket.AddressFamily.AF_INET6 and not bound.getsockopt(
        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
    ):
        families.append(socket.AddressFamily.AF_INET)
    return families


def _address_towards(controlplane_url: str | None, families: Sequence[socket.AddressFamily]) -> str:
    for family in families:
        with contextlib.suppress(OSError):
            return _own_address(urlsplit(controlplane_url or ""), family)
    return socket.getfqdn()


def _own_address(target: SplitResult, family: socket.AddressFamily) -> str:
    """Raises OSError if the target cannot be reached that way."""
    loopback = "::1" if family is socket.AddressFamily.AF_INET6 else "127.0.0.1"
    address = socket.getaddrinfo(
        target.hostname or loopback, target.port or 80, family, socket.SOCK_DGRAM
    )[0][4]
    # Connecting a datagram socket sends nothing; it only picks the route.
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
