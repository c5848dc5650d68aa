"""Requests over libcurl, which keeps to one deadline from resolving the name to
the last byte.

libcurl sends a request again by itself when a kept connection turns out to be
dead, whatever the method. The agent may have made the change before it died, so
here a second sending ends the call instead; what may be repeated is for the
caller to say.
"""

import re
import select
import ssl
from collections import deque
from functools import cache
from itertools import chain
from threading import Lock
from typing import NamedTuple

import pycurl

from controlplane.forwarding.transport import (
    Lost,
    NotSent,
    RawAnswer,
    TimedOut,
    TooLong,
    WireRequest,
)

_CONNECT_TIMEOUT_MS = 5000
# Idle seconds. Below uvicorn's five, so that a connection is dropped here before
# the agent drops it under a request.
_KEEPALIVE_S = 4
_MAX_KEPT = 256
# curl cuts a URL at a `#` and refuses blanks; what is sent is what was recorded.
_TARGET = re.compile(r"/[!\"$-~]*")
_HEADER = re.compile(r"[ -~]+")
_WITH_CONTENT = ("POST", "PUT")


class _Kept(NamedTuple):
    """A handle that holds the idle connection on that socket."""

    curl: pycurl.Curl
    descriptor: int


class CurlTransport:
    """A Transport that keeps connections, at most `max_kept` idle ones."""

    def __init__(self, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._count = 0
        self._idle: dict[str, deque[_Kept]] = {}
        self._lock = Lock()

    def exchange(self, request: WireRequest, seconds: float, max_bytes: int) -> RawAnswer:
        """Send the request once and read its answer, all of it within `seconds`.

        Raises NotSent, TimedOut, Lost, and TooLong for an answer of more than
        `max_bytes`. Proxies from the environment are not used, redirects not
        followed, and nothing is decoded.
        """
        curl = self._find_living(request.base) or pycurl.Curl()
        try:
            return _Exchange(curl, request, seconds, max_bytes).run()
        finally:
            descriptor = curl.getinfo(pycurl.ACTIVESOCKET)
            # Drops body and headers, and with them the agent's token.
            curl.reset()
            if descriptor < 0:
                curl.close()
            else:
                self._keep(request.base, _Kept(curl, descriptor))

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle, self._count = self._idle, {}, 0
        for kept in chain.from_iterable(idle.values()):
            kept.curl.close()

    def _find_living(self, base: str) -> pycurl.Curl | None:
        while (kept := self._take(base)) is not None:
            if not _is_dead(kept.descriptor):
                return kept.curl
            kept.curl.close()
        return None

    def _take(self, base: str) -> _Kept | None:
        """The one used last, so that the others grow old."""
        with self._lock:
            waiting = self._idle.get(base)
            if waiting is None:
                return None
            kept = waiting.pop()
            self._count -= 1
            if not waiting:
                del self._idle[base]
            return kept

    def _keep(self, base: str, kept: _Kept) -> None:
        dropped = None
        with self._lock:
            # Taken out and put back, so that the first is the one idle longest.
            waiting = self._idle.pop(base, None) or deque()
            waiting.append(kept)
            self._idle[base] = waiting
            self._count += 1
            if self._count > self._max_kept:
                longest = next(iter(self._idle))
                dropped = self._idle[longest].popleft()
                self._count -= 1
                if not self._idle[longest]:
                    del self._idle[longest]
        if dropped is not None:
            dropped.curl.close()


class _Exchange:
    """One request on one handle, which nobody else uses meanwhile."""

    def __init__(
        self, curl: pycurl.Curl, request: WireRequest, seconds: float, max_bytes: int
    ) -> None:
        self._curl = curl
        self._request = request
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._times_sent = 0
        self._parts: list[bytes] = []
        self._length = 0
        self._date = ""

    def run(self) -> RawAnswer:
        try:
            self._prepare()
            self._curl.perform()
        except pycurl.error as error:
            raise self._failure(*error.args) from error
        declared: bytes = self._curl.getinfo_raw(pycurl.CONTENT_TYPE) or b""
        media_type = declared.decode("latin-1").partition(";")[0].strip().lower()
        status: int = self._curl.getinfo(pycurl.RESPONSE_CODE)
        return RawAnswer(status, media_type, b"".join(self._parts), self._date)

    def _failure(self, code: int, why: str) -> Exception:
        if self._times_sent == 0:
            return NotSent(why)
        if self._length > self._max_bytes:
            return TooLong(self._max_bytes)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return TimedOut(why)
        if self._times_sent > 1:
            return Lost("it closed the connection without an answer")
        return Lost(why)

    def _prepare(self) -> None:
        request, curl = self._request, self._curl
        if not _TARGET.fullmatch(request.target):
            raise NotSent("the path holds characters that cannot be sent")
        set_ = curl.setopt
        set_(pycurl.URL, request.base + request.target)
        set_(pycurl.PATH_AS_IS, 1)
        set_(pycurl.CUSTOMREQUEST, request.method)
        if request.body is not None:
            set_(pycurl.POSTFIELDS, request.body)
        set_(pycurl.HTTPHEADER, _header_lines(request))
        # An empty one is not sent.
        set_(pycurl.USERAGENT, "")
        milliseconds = max(1, int(self._seconds * 1000))
        set_(pycurl.TIMEOUT_MS, milliseconds)
        set_(pycurl.CONNECTTIMEOUT_MS, min(milliseconds, _CONNECT_TIMEOUT_MS))
        # Timeouts without signals, which only the main thread could take.
        set_(pycurl.NOSIGNAL, 1)
        set_(pycurl.PREREQFUNCTION, self._may_send)
        set_(pycurl.WRITEFUNCTION, self._collect)
        set_(pycurl.HEADERFUNCTION, self._note_date)
        set_(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        set_(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        set_(pycurl.HTTP_CONTENT_DECODING, 0)
        # Empty: not even those of the environment.
        set_(pycurl.PROXY, "")
        # A handle has one agent, which may come back at another address.
        set_(pycurl.MAXCONNECTS, 1)
        set_(pycurl.MAXAGE_CONN, _KEEPALIVE_S)
        set_(pycurl.DNS_CACHE_TIMEOUT, 0)
        for option, place in _authorities():
            set_(option, place)

    def _may_send(self, *addresses: object) -> int:
        self._times_sent += 1
        if self._times_sent > 1:
            return int(pycurl.PREREQFUNC_ABORT)
        return int(pycurl.PREREQFUNC_OK)

    def _note_date(self, line: bytes) -> None:
        if line[:5].lower() == b"date:":
            self._date = line[5:].decode("latin-1").strip()

    def _collect(self, part: bytes) -> int | None:
        self._length += len(part)
        if self._length > self._max_bytes:
            return 0
        self._parts.append(part)
        return None


def _is_dead(descriptor: int) -> bool:
    """Whether the agent closed the connection that is kept on that socket: an idle
    one has nothing to read but its end. curl looks once a second at most."""
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    return bool(watch.poll(0))


def _header_lines(request: WireRequest) -> list[str]:
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    if not all(_HEADER.fullmatch(line) for line in lines):
        raise NotSent("a header holds characters that cannot be sent")
    # Without a value: curl leaves these out.
    lines.append("Expect:")
    if request.body is None and request.method in _WITH_CONTENT:
        lines.append("Content-Length: 0")
    return lines


@cache
def _authorities() -> list[tuple[int, str]]:
    """Where the certificates of this machine are, as its Python knows them: curl's
    own default is the place of the distribution that the wheel was built on."""
    paths = ssl.get_default_verify_paths()
    places = ((pycurl.CAINFO, paths.cafile), (pycurl.CAPATH, paths.capath))
    return [(option, place) for option, place in places if place]
