"""Canonical JSON (RFC 8785, JSON Canonicalization Scheme), fast where it can be.

The standard library's encoder is written in C, and for most documents writes the same.
It differs in numbers with an exponent or a fraction of zero (3.2.2.3), and in the order
of keys with characters from U+E000 on (3.2.3: by UTF-16 units). Where the text could
hold one of those, the library that knows all of the rules writes it anew.
"""

import json
import re

import rfc8785

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode
# A number can only end there; that a text inside of the document may look like that too
# costs time, nothing else.
_DIFFERENT_NUMBER = re.compile(r"[0-9](?:e[-+]?[0-9]+|\.0)(?=[],}]|\Z)")
_FIRST_OF_OTHER_ORDER = "\ud800"


def dumps(value: object) -> bytes:
    """JSON, UTF-8. Numbers must be finite and integers within 2^53, keys text. Raises
    ValueError."""
    text = _encode(value)
    is_alike = text.isascii() or max(text) < _FIRST_OF_OTHER_ORDER
    if is_alike and _DIFFERENT_NUMBER.search(text) is None:
        return text.encode()
    return rfc8785.dumps(value)  # type: ignore[arg-type]
