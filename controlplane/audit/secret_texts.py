"""Taking secrets out of texts.

Every expression here looks at a character a few times at most, whatever the text: what
callers send must not keep a processor busy.
"""

import re
from urllib.parse import unquote

from controlplane.audit.secret_names import SECRETS, Nature, nature_of, tells_numbers

REDACTED = "***"
_OWN_TOKEN = re.compile(r"kvp[a-z]?_[A-Za-z0-9_-]{16,}")
# Base64 of a name and a password is not all small letters; a word after "basic" is.
_SCHEME = re.compile(r"((?i:bearer)(?:\s++|%20)|(?i:basic)(?:\s++|%20)(?=[a-z_-]*[A-Z0-9+/=]))\S+")
_UNBROKEN = re.compile(r"\S+")
# A text that begins with its scheme can be a URL with blanks in its password.
_LEADING_URL = re.compile(r"([\w+.-]++://)[^/?#\r\n]*@")
_BLANK = re.compile(r"\s")
_NAME = r"[\w.%\[\]-]"
_NAMED = re.compile(
    rf"""(?<!{_NAME})(?P<name>{_NAME}++)(?P<quotes>[\\"'`]*+)\s*+(?P<sign>[=:]++)>?(?!//)\s*+"""
)
_QUOTED = re.compile(r"""(\\*+(["'`]))((?:\\.|(?!\2).|\2(?=\w))*+)""", re.DOTALL)
# An & or a # may belong to a password, unless another parameter begins there.
_END_OF_VALUE = re.compile(rf"\s|[&#](?={_NAME}++=)")
_END_OF_LINE = re.compile(r"[\r\n]")
# Our own errors: `'password': This field is required.`
_SENTENCE = re.compile(r"[A-Za-z]++ [\w('\"]")
_MAX_ENCODED = 4


def redact_text(text: str) -> str:
    """`text` without credentials inside URLs, values of parameters and headers whose
    names are secret, tokens of our own making, and characters that a database cannot
    hold; the same for what is percent-encoded in it."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    text = _without_secrets(text)
    return _UNBROKEN.sub(_decoded_if_secret, text) if "%" in text else text


def _without_secrets(text: str) -> str:
    if "@" in text and ("://" in text or r":\/\/" in text):
        text = _without_credentials(text)
    lowered = text.lower()
    if "bearer" in lowered or "basic" in lowered:
        text = _SCHEME.sub(_after_scheme, text)
    if ":" in text or "=" in text:
        text = _without_named(text)
    return _OWN_TOKEN.sub(REDACTED, text) if "kvp" in text else text


def _after_scheme(found: re.Match[str]) -> str:
    return found[1] + REDACTED


def _without_credentials(text: str) -> str:
    text = text.replace(r":\/\/", "://")
    if (leading := _LEADING_URL.match(text)) is not None:
        text = f"{leading[1]}{REDACTED}@{text[leading.end() :]}"
    return _UNBROKEN.sub(_without_credentials_of_one, text)


def _without_credentials_of_one(unbroken: re.Match[str]) -> str:
    # Up to the last @: a password may hold an @ or a slash. Rather a path with
    # an @ in it is lost than half a password kept.
    text = unbroken[0]
    begin, end = text.find("://") + 3, text.rfind("@")
    return text if begin < 3 or end < begin else text[:begin] + REDACTED + text[end:]


def _without_named(text: str) -> str:
    """Without what follows a secret name: `name=value`, `name: value`, `"name": "value"`."""
    told, position = [], 0
    for found in _NAMED.finditer(text):
        if found.start() < position:
            continue
        begin, end = _secret_after(found, text)
        if begin < end:
            told += [text[position:begin], REDACTED]
            position = end
    return "".join([*told, text[position:]]) if told else text


def _secret_after(found: re.Match[str], text: str) -> tuple[int, int]:
    """From where to where the value after that name is to be left out."""
    nature = nature_of(unquote(found["name"]))
    if nature is Nature.PLAIN or (":" in found["sign"] and _is_sentence(found, text, nature)):
        return 0, 0
    begin, end = _value_after(found, text, nature)
    if nature not in SECRETS and tells_numbers(text[begin:end]):
        return 0, 0
    return begin, end


def _is_sentence(found: re.Match[str], text: str, nature: Nature) -> bool:
    """Whether what follows the colon is said about the name, and is not its value."""
    if not found["quotes"]:
        return nature not in SECRETS
    return found["quotes"] == "'" and _SENTENCE.match(text, found.end()) is not None


def _value_after(found: re.Match[str], text: str, nature: Nature) -> tuple[int, int]:
    begin = found.end()
    if (quoted := _QUOTED.match(text, begin)) is not None:
        return quoted.span(3)
    is_line = nature is Nature.SECRET_LINE and ":" in found["sign"]
    is_line = is_line or text.startswith(("{", "["), begin)
    ending = (_END_OF_LINE if is_line else _END_OF_VALUE).search(text, begin)
    return begin, len(text) if ending is None else ending.start()


def _decoded_if_secret(unbroken: re.Match[str]) -> str:
    text = decoded = unbroken[0]
    for _ in range(_MAX_ENCODED):
        decoded = unquote(decoded)
    if decoded == text:
        return text
    # A blank must not end what it is part of.
    decoded = _BLANK.sub("%20", decoded).replace("\x00", "\ufffd")
    shown = _without_secrets(decoded)
    return text if shown == decoded else shown
