"""Taking secrets out of what is about to be stored."""

import json
import math
import re
from collections.abc import Collection, Mapping
from enum import Enum
from functools import lru_cache

REDACTED = "***"
_LEFT_OUT = "…"
_MAX_DEPTH = 50
# Parts of names, compared without separators: `apikey` is in `X-Api-Key`.
_SECRET_PARTS = (
    "secret",
    "passw",
    "passphrase",
    "credential",
    "accesskey",
    "privatekey",
    "apikey",
    "authorization",
    "cookie",
)
_SECRET_WORDS = frozenset({"auth", "pwd"})
# Tokens that are text of a prompt, and how many of them there are.
_COUNTS = frozenset(
    {
        "tokens",
        "token_changed",
        "tokens_mock",
        "tokens_input",
        "num_tokens",
        "stored_tokens",
        "retrieved_tokens",
        "min_retrieve_tokens",
        "blend_min_tokens",
    }
)
# dict first: asking the abstract class takes longer than most values do.
_MAPPINGS = (dict, Mapping)
_LISTS = (list, tuple)
_WORD = re.compile(r"[A-Z]*[a-z0-9]+|[A-Z]+")
_UNBROKEN = re.compile(r"""[^\s"'`]+""")
_OWN_TOKEN = re.compile(r"\bkvp[a-z]?_[A-Za-z0-9_-]{16,}")


def redact(value: object, depth: int = _MAX_DEPTH) -> object:
    """A copy of a JSON-ready value without secrets, fit for any database.

    Replaced by `***`: values under secret names at any depth, also in a string
    that holds JSON, credentials inside URLs, and tokens of our own making
    wherever they stand. Characters and numbers that a JSON column cannot hold
    are replaced too, and what is nested deeper than `depth` is left out.
    """
    if isinstance(value, str):
        return _redact_string(value, depth)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, _MAPPINGS):
        if depth == 0:
            return _LEFT_OUT
        return {
            redact_text(str(key)): redact_named(str(key), item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, _LISTS):
        return [redact(item, depth - 1) for item in value] if depth else _LEFT_OUT
    return value


def redact_named(name: str, value: object, depth: int = _MAX_DEPTH) -> object:
    """`value` redacted, knowing under which name it stands."""
    return _hide(value) if _is_secret(name, value) else redact(value, depth)


def hide_named(value: object, names: Collection[str]) -> object:
    """A copy of a JSON-ready value in which what stands under these names, at any depth,
    reads `***`."""
    if not names:
        return value
    if isinstance(value, _MAPPINGS):
        return {
            key: _hide(item) if key in names else hide_named(item, names)
            for key, item in value.items()
        }
    if isinstance(value, _LISTS):
        return [hide_named(item, names) for item in value]
    return value


def redact_text(text: str) -> str:
    """`text` without credentials inside URLs, tokens of our own making, and
    characters that a database cannot hold."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if "://" in text:
        text = _UNBROKEN.sub(_without_credentials, text)
    return _OWN_TOKEN.sub(REDACTED, text) if "kvp" in text else text


def _redact_string(text: str, depth: int) -> object:
    if text.lstrip()[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except RecursionError:
            return _LEFT_OUT
        except ValueError:
            return redact_text(text)
        return json.dumps(redact(document, depth), ensure_ascii=False)
    return redact_text(text)


def _without_credentials(unbroken: re.Match[str]) -> str:
    # Up to the last @: a password may hold an @ or a slash. Rather a path with
    # an @ in it is lost than half a password kept.
    text = unbroken[0]
    begin, end = text.find("://") + 3, text.rfind("@")
    return text if begin < 3 or end < begin else text[:begin] + REDACTED + text[end:]


def _hide(value: object) -> object:
    # That a secret was set or cleared is worth knowing; what it was is not.
    return value if value in (None, "") else REDACTED


def _is_secret(name: str, value: object) -> bool:
    nature = _nature_of(name)
    return nature is _Nature.SECRET or (nature is _Nature.TOKENS and not _counts(value))


class _Nature(Enum):
    """What stands under a name."""

    PLAIN = 0
    SECRET = 1
    TOKENS = 2
    """A secret, unless it is made of numbers."""


# A few names come again and again with every entry.
@lru_cache(maxsize=4096)
def _nature_of(name: str) -> _Nature:
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    if any(part in joined for part in _SECRET_PARTS) or not _SECRET_WORDS.isdisjoint(words):
        return _Nature.SECRET
    if "token" in joined and "_".join(words) not in _COUNTS:
        return _Nature.TOKENS
    return _Nature.PLAIN


def _counts(value: object) -> bool:
    """Whether it is made of numbers: how many tokens there are, or which."""
    if isinstance(value, list):
        return all(_counts(item) for item in value)
    return isinstance(value, int | float)
