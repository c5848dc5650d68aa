"""Requests that wish for another protocol, made into ones that do not."""

from collections.abc import Iterable

_ABOUT_UPGRADES = (b"upgrade", b"http2-settings")


def head_without_upgrade(method: str, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of the same request as HTTP/1.1 that stays so. `headers` have names in
    lower case."""
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), url)]
    for name, value in headers:
        if name in _ABOUT_UPGRADES:
            continue
        kept = _options_kept(value) if name == b"connection" else value
        lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])


def _options_kept(connection: bytes) -> bytes:
    options = [option.strip() for option in connection.split(b",")]
    return b", ".join(option for option in options if option.lower() not in _ABOUT_UPGRADES)
