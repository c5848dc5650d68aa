"""Entries as syslog messages (RFC 5424), over UDP (RFC 5426), TCP with counted octets
(RFC 6587, 3.4.1) or TLS (RFC 5425)."""

import json
import os
import re
import socket
import ssl
from collections.abc import Sequence
from functools import lru_cache

from controlplane.audit.forwarding.delivery import DeliveryFailed
from controlplane.audit.forwarding.receivers import Syslog
from controlplane.audit.models import AuditEntry

_LOG_AUDIT = 13
_NOTICE, _WARNING = 5, 4
_BAD = frozenset({"failed", "denied", "unknown", "partially_failed"})
# The number that RFC 5612 sets aside for documentation: KVPlane has none of its own.
_SD_ID = "kvplane@32473"
_MAX_DATAGRAM = 8 << 10
_TIMEOUT_S = 10.0
_LONG_PARTS = ("request", "answer", "before", "after", "diff")
_ESCAPED = re.compile(r'(["\\\]])')
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


class SyslogDelivery:
    """Sends each entry as a message; a connection is kept, and made anew after it broke."""

    def __init__(self, syslog: Syslog) -> None:
        self._syslog = syslog
        self._socket: socket.socket | None = None

    def deliver(self, entries: Sequence[AuditEntry]) -> int:
        """Send all of them. Raises DeliveryFailed; those before may have arrived."""
        try:
            connection = self._socket or self._connect()
            for entry in entries:
                self._send(connection, entry)
        except OSError as error:
            self.close()
            raise DeliveryFailed(f"syslog failed: {error}") from error
        return len(entries)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, connection: socket.socket, entry: AuditEntry) -> None:
        if self._syslog.transport == "udp":
            message = format_message(entry)
            if len(message) > _MAX_DATAGRAM:
                message = format_message(entry, _LONG_PARTS)
            connection.send(message)
            return
        message = format_message(entry)
        connection.sendall(b"%d %b" % (len(message), message))

    def _connect(self) -> socket.socket:
        host, port = self._syslog.host, self._syslog.port
        if self._syslog.transport == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            connection = socket.socket(family, kind, protocol)
            connection.connect(address)
        else:
            connection = socket.create_connection((host, port), timeout=_TIMEOUT_S)
            if self._syslog.transport == "tls":
                context = ssl.create_default_context()
                connection = context.wrap_socket(connection, server_hostname=host)
        self._socket = connection
        return connection


def format_message(entry: AuditEntry, left_out: Sequence[str] = ()) -> bytes:
    """The message: facility log audit, severity warning for what failed or was denied,
    else notice; MSGID is the action, MSG the entry as JSON (UTF-8) without the parts
    `left_out`."""
    severity = _WARNING if entry.outcome in _BAD else _NOTICE
    header = (
        f"<{_LOG_AUDIT * 8 + severity}>1 {entry.content['at']} {_hostname()} kvplane "
        f"{os.getpid()} {_name(entry.action, 32)}"
    )
    values = {
        "id": str(entry.pk),
        "action": entry.action,
        "actor": entry.actor_name,
        "agent": entry.agent,
        "outcome": entry.outcome,
        "request": entry.request_id,
    }
    data = " ".join(f'{name}="{_parameter(value)}"' for name, value in values.items())
    told = {
        "id": entry.pk,
        "mac": entry.mac,
        "entry": {name: value for name, value in entry.content.items() if name not in left_out},
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return f"{header} [{_SD_ID} {data}] \ufeff{text}".encode()


def _parameter(value: str) -> str:
    return _ESCAPED.sub(r"\\\1", value)


def _name(text: str, length: int) -> str:
    return _NOT_PRINTABLE.sub("", text)[:length] or "-"


@lru_cache(maxsize=1)
def _hostname() -> str:
    return _name(socket.getfqdn(), 255)
