"""Which names say that what stands under them is secret."""

import re
from enum import Enum
from functools import lru_cache

# Parts of names, compared without separators: `apikey` is in `X-Api-Key`.
_SECRET_PARTS = (
    "secret",
    "passw",
    "passphrase",
    "credential",
    "accesskey",
    "accountkey",
    "apikey",
    "encryptionkey",
    "hmackey",
    "masterkey",
    "privatekey",
    "sharedkey",
    "signingkey",
    "sessionid",
)
# Whole words: `pass` is in `bypass` too.
_SECRET_WORDS = frozenset({"auth", "bearer", "dsn", "jwt", "pass", "pwd", "sig", "signature"})
_LINES = ("authorization", "cookie")
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
_WORD = re.compile(r"[A-Z]*[a-z0-9]+|[A-Z]+")
_NUMBERS = re.compile(r"[\d\s,.:;()\[\]{}+-]*")
LONGEST_KNOWN = 200
"""Names that are longer are not remembered: callers could make up any."""


class Nature(Enum):
    """What stands under a name."""

    PLAIN = 0
    SECRET = 1
    SECRET_LINE = 2
    """A secret of several words, as in the header Authorization."""
    TOKENS = 3
    """A secret, unless it is made of numbers."""
    COUNTS = 4
    """Numbers, also in a text."""


SECRETS = frozenset({Nature.SECRET, Nature.SECRET_LINE})


def nature_of(name: str) -> Nature:
    """What stands under that name, however its words are put together."""
    return _remembered(name) if len(name) <= LONGEST_KNOWN else _judge(name)


def is_made_of_numbers(value: object) -> bool:
    """Whether it is how many tokens there are, or which."""
    if isinstance(value, list | tuple):
        return all(map(is_made_of_numbers, value))
    return isinstance(value, int | float)


def tells_numbers(text: str) -> bool:
    """Whether the text is made of numbers: `0,1000`."""
    return _NUMBERS.fullmatch(text) is not None


def _judge(name: str) -> Nature:
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    if any(part in joined for part in _LINES):
        return Nature.SECRET_LINE
    if any(part in joined for part in _SECRET_PARTS) or not _SECRET_WORDS.isdisjoint(words):
        return Nature.SECRET
    if "token" not in joined:
        return Nature.PLAIN
    if "_".join(words) in _COUNTS:
        return Nature.COUNTS
    return Nature.SECRET if joined.endswith(("token", "tokenvalue")) else Nature.TOKENS


# A few names come again and again with every entry.
_remembered = lru_cache(maxsize=4096)(_judge)
