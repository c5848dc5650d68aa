"""Hiding secrets in values that are shown."""

from collections.abc import Mapping

HIDDEN = "***"

_SECRET_PARTS = ("token", "passw", "secret", "credential", "apikey", "accesskey", "privatekey")
_SECRET_NAMES = frozenset({"key", "auth", "authorization", "pwd", "passphrase"})


def hide_secrets(value: object) -> object:
    """A copy of a JSON-ready value in which, at any depth, a value under a name that
    sounds like a secret reads "***". Null stays null: whether a secret is set is
    none."""
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if item is not None and sounds_secret(name) else hide_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    return value


def sounds_secret(name: str) -> bool:
    """Whether a value under this name is to be hidden."""
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    joined = "".join(words)
    return any(part in joined for part in _SECRET_PARTS) or not _SECRET_NAMES.isdisjoint(words)
