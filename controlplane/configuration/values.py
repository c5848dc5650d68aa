"""Values of a configuration: what is shown, what is sealed, how two differ."""

from collections.abc import Collection, Mapping
from typing import cast

from controlplane.audit.difference import Diff, difference, same
from controlplane.audit.redaction import REDACTED, redact_named

__all__ = ["Diff", "Values", "difference", "hidden_part", "same", "show", "shows_secret"]

Values = Mapping[str, object]


def show(values: Values, secret_keys: Collection[str]) -> dict[str, object]:
    """A copy fit to be stored and shown: values of secret keys, secrets inside other
    values and credentials in URLs read `***`."""
    return {
        key: _hidden(value) if key in secret_keys else redact_named(key, value)
        for key, value in values.items()
    }


def hidden_part(values: Values, shown: Values) -> dict[str, object]:
    """The values that `shown` does not tell."""
    return {key: value for key, value in values.items() if shown[key] != value}


def shows_secret(value: object) -> bool:
    """Whether there is a `***` in it, so that it cannot be sent as it stands."""
    if isinstance(value, str):
        return REDACTED in value
    if isinstance(value, Mapping):
        return any(map(shows_secret, value.values()))
    return isinstance(value, list) and any(map(shows_secret, cast(list[object], value)))


def _hidden(value: object) -> object:
    return value if value in (None, "") else REDACTED
