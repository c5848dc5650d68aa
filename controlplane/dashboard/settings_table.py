"""An agent's configuration, key by key: as it should be, as it is, and as a form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.audit.difference import same
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.schema import Keys, mutable_keys, problems, secret_keys
from controlplane.configuration.values import shows_secret
from controlplane.reconcile.models import Watch

_NUMBERS = {"int": int, "float": float}
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class SettingRow:
    """One key. `effective` is what the agent was found to have."""

    key: str
    desired: object
    effective: object
    help: str
    mutable: bool

    @property
    def differs(self) -> bool:
        """Whether the agent has another value than it should."""
        return not same(self.desired, self.effective)


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
    problem: str = ""


@dataclass(frozen=True)
class Asked:
    """What a form asks for: the keys with another value than before, and for each key
    that cannot be set so, why not."""

    changes: Mapping[str, object]
    problems: Mapping[str, str]


def setting_rows(revision: ConfigRevision, watch: Watch | None, keys: Keys) -> list[SettingRow]:
    """Every key: those that differ first, then those that can be changed."""
    drift = {} if watch is None else watch.drift.get("configuration", {})
    settable = mutable_keys(keys)
    rows = [
        SettingRow(
            key,
            value,
            drift[key].get("from") if key in drift else value,
            str(keys.get(key, {}).get("help", "")),
            key in settable,
        )
        for key, value in revision.values.items()
    ]
    return sorted(rows, key=lambda row: (not row.differs, not row.mutable, row.key))


def fields_of(
    revision: ConfigRevision, keys: Keys, given: Mapping[str, str], asked: Asked | None
) -> list[Field]:
    """An input for each key that can be changed here, with what was given before."""
    wrong = {} if asked is None else asked.problems
    return [
        Field(
            key=key,
            text=given.get(key, _written(revision.values[key])),
            kind=str(keys[key].get("type")),
            optional=keys[key].get("optional") is True,
            help=str(keys[key].get("help", "")),
            minimum=keys[key].get("minimum"),
            maximum=keys[key].get("maximum"),
            choices=_choices(keys[key]),
            problem=wrong.get(key, ""),
        )
        for key in _editable(revision, keys)
    ]


def read_changes(revision: ConfigRevision, keys: Keys, given: Mapping[str, str]) -> Asked:
    """What the form asks for, checked by the agent's own schema."""
    changes: dict[str, object] = {}
    unreadable: dict[str, str] = {}
    for key in _editable(revision, keys):
        text = given.get(key)
        if text is None or text == _written(revision.values[key]):
            continue
        try:
            value = _read(keys[key], text)
        except ValueError:
            unreadable[key] = f"'{text[:40]}' is not of type {keys[key].get('type')}"
            continue
        if not same(value, revision.values[key]):
            changes[key] = value
    return Asked(changes, {**problems(keys, changes), **unreadable})


def _editable(revision: ConfigRevision, keys: Keys) -> list[str]:
    """Secrets are not: what they are now cannot be shown."""
    hidden = secret_keys(keys)
    return sorted(
        key
        for key in mutable_keys(keys)
        if key in revision.values and key not in hidden and not shows_secret(revision.values[key])
    )


def _choices(key: Mapping[str, object]) -> list[str]:
    if key.get("type") == "bool":
        return list(_TRUTH)
    choices = key.get("choices")
    is_one = key.get("type") == "str"
    return [str(choice) for choice in choices] if isinstance(choices, list) and is_one else []


def _written(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(key: Mapping[str, object], text: str) -> object:
    """Raises ValueError for what is not of the key's type."""
    kind = str(key.get("type"))
    if text.strip() == "" and (key.get("optional") or kind != "str"):
        # Not optional: the schema says so better than a parser.
        return None
    if kind == "bool":
        if text not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text]
    if kind in _NUMBERS:
        return _NUMBERS[kind](text)
    return text if kind == "str" else json.loads(text)
