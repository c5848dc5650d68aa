"""Values of a configuration: what is shown, what is sealed, how two differ."""

from collections.abc import Collection, Mapping
from typing import cast

from controlplane.audit.redaction import REDACTED, redact_named

Values = Mapping[str, object]
Diff = dict[str, dict[str, object]]
_ABSENT = "absent"


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


def difference(before: Values, after: Values) -> Diff:
    """Key by key what changes from `before` to `after`: `from` and `to`, or `absent`
    naming the side that does not have the key."""
    diff: Diff = {}
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in before:
            diff[key] = {_ABSENT: "from", "to": after[key]}
        elif key not in after:
            diff[key] = {"from": before[key], _ABSENT: "to"}
        elif not same(before[key], after[key]):
            diff[key] = {"from": before[key], "to": after[key]}
    return diff


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal; unlike Python, JSON tells 1 from true."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def shows_secret(value: object) -> bool:
    """Whether there is a `***` in it, so that it cannot be sent as it stands."""
    if isinstance(value, str):
        return REDACTED in value
    if isinstance(value, Mapping):
        return any(map(shows_secret, value.values()))
    return isinstance(value, list) and any(map(shows_secret, cast(list[object], value)))


def _hidden(value: object) -> object:
    return value if value in (None, "") else REDACTED
