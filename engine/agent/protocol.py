"""HTTP as uvicorn reads it, with its refusals in the contract's words."""

import json

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.agent.reading import MAX_QUERY_BYTES, QueryTooLong
from engine.agent.upgrade import head_without_upgrade
from engine.contract import ContractError


class NotHTTP(ContractError):
    """The bytes that came are no HTTP request."""

    def __init__(self) -> None:
        super().__init__(
            400,
            "Invalid HTTP request",
            "What was sent is not HTTP/1.1; check the method, the URL and the headers.",
        )


class JSONHttpProtocol(HttpToolsProtocol):
    """Answers what its parser refuses with the error body; uvicorn's own answer is
    plain text. Passes over the wish for another protocol (RFC 9110, 7.8), with which
    uvicorn loses the body: Java's client wishes for HTTP/2 in every first request."""

    url = b""  # uvicorn sets it with the first byte of a request

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        # The parser counts the bytes of a URL in 16 bits and refuses a longer one
        # like any other nonsense.
        self.refuse(QueryTooLong() if len(self.url) > MAX_QUERY_BYTES else NotHTTP())

    def refuse(self, error: ContractError) -> None:
        """Answer with the error and hang up."""
        body = json.dumps(error.body()).encode("ascii")
        self.transport.write(
            b"HTTP/1.1 %d \r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (error.status, len(body), body)
        )
        self.transport.close()

    def _should_upgrade(self) -> bool:
        # uvicorn then leaves a request that wishes for an upgrade to `_feed`.
        return True

    def _feed(self, data: bytes) -> None:
        """Raises HttpParserError."""
        while not self.transport.is_closing():
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser stopped after the head, and would take a body for none.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        method = self.scope["method"]
        if method == "CONNECT":
            raise httptools.HttpParserInvalidMethodError("This is no proxy.")
        return head_without_upgrade(method, self.url, self.headers)
