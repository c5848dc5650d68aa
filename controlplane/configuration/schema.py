"""What an agent's configuration schema allows."""

from collections.abc import Mapping

Keys = Mapping[str, Mapping[str, object]]
"""As `keys` of GET /conf/schema."""
_APPLIES_AT_RECREATE = "on lookup recreate"


def secret_keys(keys: Keys) -> frozenset[str]:
    """Keys whose values are never shown."""
    return frozenset(name for name, key in keys.items() if key.get("secret") is True)


def mutable_keys(keys: Keys) -> frozenset[str]:
    """Keys that can be changed over the API."""
    return frozenset(name for name, key in keys.items() if key.get("mutable") is True)


def applies_at_recreate(keys: Keys) -> frozenset[str]:
    """Keys whose change the lookup takes up when it is made anew."""
    return frozenset(
        name for name, key in keys.items() if key.get("applies") == _APPLIES_AT_RECREATE
    )


def problems(keys: Keys, changes: Mapping[str, object]) -> dict[str, str]:
    """For each of the changes that the schema does not allow, why not. The agent has
    the last word: it knows rules between keys that a schema cannot tell."""
    found: dict[str, str] = {}
    for name, value in changes.items():
        if name not in keys:
            found[name] = "the agent does not know this key any more"
        elif keys[name].get("mutable") is not True:
            found[name] = "the agent takes it at its start only"
        elif why := _why_not(keys[name], value):
            found[name] = why
    return found


def _why_not(key: Mapping[str, object], value: object) -> str:
    if value is None:
        return "" if key.get("optional") else "it cannot be null"
    kind = str(key.get("type"))
    if not _is_of(kind, value):
        return f"it must be of type {kind}"
    choices = key.get("choices")
    if isinstance(choices, list) and not all(item in choices for item in _items(value)):
        return f"it must be one of {', '.join(map(str, choices))}"
    minimum, maximum = key.get("minimum"), key.get("maximum")
    for item in _items(value):
        if isinstance(item, bool) or not isinstance(item, int | float):
            continue
        if isinstance(minimum, int | float) and item < minimum:
            return f"it must be at least {minimum}"
        if isinstance(maximum, int | float) and item > maximum:
            return f"it must be at most {maximum}"
    return ""


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _is_of(kind: str, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    match kind:
        case "int":
            return isinstance(value, int)
        case "float":
            return isinstance(value, int | float)
        case "str":
            return isinstance(value, str)
        case "dict":
            return isinstance(value, dict)
        case "list[int]" | "int_list":
            return isinstance(value, list) and all(
                isinstance(item, int) and not isinstance(item, bool) for item in value
            )
        case "list[str]" | "str_list":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
    # A type that a newer agent has: its own check decides.
    return kind != "bool"
