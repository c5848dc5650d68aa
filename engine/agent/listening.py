"""Sockets that the agents of a process listen on, and the URLs they have."""

import ipaddress
import os
import socket
from urllib.parse import urlsplit

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
        host = _address_towards(controlplane_url, bound.family)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_towards(controlplane_url: str | None, family: socket.AddressFamily) -> str:
    target = urlsplit(controlplane_url or "")
    loopback = "::1" if family is socket.AddressFamily.AF_INET6 else "127.0.0.1"
    try:
        address = socket.getaddrinfo(
            target.hostname or loopback, target.port or 80, family, socket.SOCK_DGRAM
        )[0][4]
        # Connecting a datagram socket sends nothing; it only picks the route.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.getfqdn()
