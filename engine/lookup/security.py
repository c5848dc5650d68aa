"""Encryption and admission of lookups over TCP: CurveZMQ (https://rfc.zeromq.org/spec/26/).

A client must know the server's public key to say anything that the server
understands. Both derive it from the agents' common token, so that whoever has the
token may ask, nobody else, and nobody can listen.
"""

import hashlib

import zmq
from zmq.utils import z85

_PURPOSE = b"kvplane lookup server\0"


class CurveSecurity:
    """Keys that are made of an agent token."""

    def __init__(self, agent_token: str) -> None:
        secret = hashlib.sha256(_PURPOSE + agent_token.encode()).digest()
        self._server_secret = z85.encode(secret)
        self._server_public = zmq.curve_public(self._server_secret)

    def secure_server(self, server: "zmq.Socket[bytes]") -> None:
        server.curve_secretkey = self._server_secret
        server.curve_publickey = self._server_public
        server.curve_server = True

    def secure_client(self, client: "zmq.Socket[bytes]") -> None:
        client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
        client.curve_serverkey = self._server_public


class NoSecurity:
    """For sockets that only the own user, or this machine, can reach."""

    def secure_server(self, server: "zmq.Socket[bytes]") -> None:
        pass

    def secure_client(self, client: "zmq.Socket[bytes]") -> None:
        pass


Security = CurveSecurity | NoSecurity


def security_of(address: str, agent_token: str | None) -> Security:
    """What protects a server at that address."""
    if agent_token is not None and address.startswith("tcp://"):
        return CurveSecurity(agent_token)
    return NoSecurity()
