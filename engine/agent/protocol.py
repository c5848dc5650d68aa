"""HTTP as uvicorn reads it, with its refusals in the contract's words."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.agent.reading import MAX_QUERY_BYTES, QueryTooLong
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
    plain text."""

    url = b""  # uvicorn sets it with the first byte of a request

    def send_400_response(self, msg: str) -> None:
        # The parser counts the bytes of a URL in 16 bits and refuses a longer one
        # like any other nonsense.
        error = QueryTooLong() if len(self.url) > MAX_QUERY_BYTES else NotHTTP()
        body = json.dumps(error.body()).encode("ascii")
        self.transport.write(
            b"HTTP/1.1 %d \r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (error.status, len(body), body)
        )
        self.transport.close()
