"""What may be a name, a URL and a set of labels."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME = re.compile(NAME_PATTERN, re.ASCII)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_MAX_HOST = 253
# The resolver reads these as IPv4 addresses, whatever else stands before them.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_MAX_LABELS = 64
_MAX_LABEL = 128


def validate_name(name: str) -> None:
    """Raises ValidationError unless the name can stand in a URL path."""
    if not _NAME.fullmatch(name):
        raise ValidationError(
            "Use 1 to 128 letters, digits, dots, hyphens and underscores, "
            "and begin with a letter or a digit."
        )


def validate_labels(labels: object) -> None:
    """Raises ValidationError unless this is a flat object of short strings."""
    if not isinstance(labels, Mapping):
        raise ValidationError('Labels are a JSON object of strings, such as {"zone": "a"}.')
    if len(labels) > _MAX_LABELS:
        raise ValidationError(f"At most {_MAX_LABELS} labels.")
    for key, value in labels.items():
        if not isinstance(value, str):
            raise ValidationError(f"The label '{str(key)[:40]}' must be a string.")
        if not key or len(key) > _MAX_LABEL or len(value) > _MAX_LABEL:
            raise ValidationError(f"Label names and values have 1 to {_MAX_LABEL} characters.")
        if "\x00" in key or "\x00" in value:
            raise ValidationError("Labels must not contain NUL characters.")


def normalise_url(url: str) -> str:
    """`scheme://host[:port]` in lower case, without a trailing slash.

    Raises ValidationError for anything that is not the root of an HTTP server,
    and for addresses at which no agent can be: unspecified, multicast and
    link-local ones, where clouds keep their metadata services.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url() from None
    host = parts.hostname or ""
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or extra or "?" in url or "#" in url or port == 0:
        raise _bad_url()
    literal = _ip_address(host)
    if literal is None:
        if not _is_host_name(host):
            raise _bad_url()
    elif literal.is_link_local or literal.is_multicast or literal.is_unspecified:
        raise ValidationError(
            "No agent can be called at a link-local, multicast or unspecified address."
        )
    netloc = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{netloc}" + (f":{port}" if port is not None else "")


def _is_host_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return (
        len(host) <= _MAX_HOST
        and all(_HOST_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


def _bad_url() -> ValidationError:
    return ValidationError(
        "Give scheme, host and port of the agent and nothing else, such as http://10.0.0.7:7000."
    )


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
