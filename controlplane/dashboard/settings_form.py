"""An agent's configuration as a form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.audit.difference import same
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.schema import Keys, mutable_keys, problems, secret_keys
from controlplane.configuration.values import shows_secret
from controlplane.dashboard.typed import example_of, read_typed, written

Key = Mapping[str, object]
"""One key of a schema."""
_TRUTH = ("true", "false")


@dataclass(frozen=True)
class Field:
    """One key in the form. `text` is what stands in the input."""

    key: str
    text: str
    kind: str
    optional: bool
    help: str
    minimum: object
    maximum: object
    choices: Sequence[str]
    example: str
    problem: str = ""


@dataclass(frozen=True)
class Asked:
    """What a form asks for: the keys with another value than before, and for each key
    that cannot be set so, why not."""

    changes: Mapping[str, object]
    problems: Mapping[str, str]


def fields_of(
    revision: ConfigRevision, keys: Keys, given: Mapping[str, str], asked: Asked | None
) -> list[Field]:
    """An input for each key that can be changed here, with what was given before."""
    wrong = {} if asked is None else asked.problems
    return [
        field_of(
            key,
            keys[key],
            given.get(key, written_value(keys[key], revision.values[key])),
            wrong.get(key, ""),
        )
        for key in editable_keys(revision, keys)
    ]


def field_of(name: str, key: Key, text: str, problem: str = "") -> Field:
    """The input of one key."""
    return Field(
        key=name,
        text=text,
        kind=str(key.get("type")),
        optional=key.get("optional") is True,
        help=str(key.get("help", "")),
        minimum=key.get("minimum"),
        maximum=key.get("maximum"),
        choices=_choices(key),
        example=example_of(str(key.get("type")), _told_choices(key)),
        problem=problem,
    )


def read_changes(revision: ConfigRevision, keys: Keys, given: Mapping[str, str]) -> Asked:
    """What the form asks for, checked by the agent's own schema."""
    changes: dict[str, object] = {}
    unreadable: dict[str, str] = {}
    for key in editable_keys(revision, keys):
        text = given.get(key)
        if text is None or text == written_value(keys[key], revision.values[key]):
            continue
        try:
            value = read_value(keys[key], text)
        except ValueError as error:
            unreadable[key] = str(error)
            continue
        if not same(value, revision.values[key]):
            changes[key] = value
    return Asked(changes, {**problems(keys, changes), **unreadable})


def editable_keys(revision: ConfigRevision, keys: Keys) -> list[str]:
    """Those that can be changed here. Secrets cannot: what they are now cannot be shown."""
    hidden = secret_keys(keys)
    return sorted(
        key
        for key in mutable_keys(keys)
        if key in revision.values and key not in hidden and not shows_secret(revision.values[key])
    )


def written_value(key: Key, value: object) -> str:
    """What stands in the input for it."""
    return written(str(key.get("type")), value)


def read_value(key: Key, text: str) -> object:
    """What the text means as a value of the key. Raises ValueError for what is not of its
    type."""
    kind = str(key.get("type"))
    if text.strip() == "" and (key.get("optional") or kind != "str"):
        # Not optional: the schema says so better than a parser.
        return None
    return read_typed(kind, text)


def _choices(key: Key) -> list[str]:
    """Those of which one is chosen."""
    if key.get("type") == "bool":
        return list(_TRUTH)
    return _told_choices(key) if key.get("type") == "str" else []


def _told_choices(key: Key) -> list[str]:
    choices = key.get("choices")
    return [str(choice) for choice in choices] if isinstance(choices, list) else []
