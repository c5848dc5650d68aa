"""Typed class attributes that read a key's current value."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, Protocol, TypeVar, cast

from engine.config.key import (
    Applies,
    ConfigKey,
    FixedBecause,
    ValueType,
    accept_any,
    show_as_it_is,
)

T = TypeVar("T")
Change = Applies | FixedBecause
"""When a change of a key takes effect, or why there can be none."""


class HasValues(Protocol):
    """An object that holds current values by key name."""

    @property
    def values(self) -> Mapping[str, object]: ...


class Setting(Generic[T]):
    """A key that is declared as an attribute and named after it.

    Reading the attribute gives the value of this moment, so a component that
    keeps the configuration and not the value sees every change.
    """

    def __init__(self, key: ConfigKey) -> None:
        self.key = key

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = replace(self.key, name=name)

    def __get__(self, holder: HasValues, owner: type | None = None) -> T:
        return cast(T, holder.values[self.key.name])

    def __set__(self, holder: HasValues, value: T) -> None:
        raise AttributeError(f"Set '{self.key.name}' with update(), which checks the value.")


def boolean(default: bool, help: str, change: Change) -> Setting[bool]:  # noqa: FBT001
    return Setting(ConfigKey("", ValueType.BOOL, default, help, change=change))


def integer(default: int, help: str, minimum: int, maximum: int, change: Change) -> Setting[int]:
    return Setting(
        ConfigKey("", ValueType.INT, default, help, minimum=minimum, maximum=maximum, change=change)
    )


def number(
    default: float, help: str, minimum: float, maximum: float, change: Change
) -> Setting[float]:
    return Setting(
        ConfigKey(
            "", ValueType.FLOAT, default, help, minimum=minimum, maximum=maximum, change=change
        )
    )


def optional_integer(help: str, minimum: int, maximum: int, change: Change) -> Setting[int | None]:
    return _optional(ValueType.INT, help, minimum, maximum, change)


def optional_number(
    help: str, minimum: float, maximum: float, change: Change
) -> Setting[float | None]:
    return _optional(ValueType.FLOAT, help, minimum, maximum, change)


def _optional(
    kind: ValueType, help: str, minimum: float, maximum: float, change: Change
) -> Setting[T]:
    return Setting(
        ConfigKey(
            "", kind, None, help, optional=True, minimum=minimum, maximum=maximum, change=change
        )
    )


def text(
    default: str, help: str, change: Change, check: Callable[[object], None] = accept_any
) -> Setting[str]:
    return Setting(ConfigKey("", ValueType.STR, default, help, change=change, check=check))


def choice(default: str, help: str, choices: tuple[str, ...], change: Change) -> Setting[str]:
    return Setting(ConfigKey("", ValueType.STR, default, help, choices=choices, change=change))


def optional_choice(help: str, choices: tuple[str, ...], change: Change) -> Setting[str | None]:
    return Setting(
        ConfigKey("", ValueType.STR, None, help, optional=True, choices=choices, change=change)
    )


def optional_text(
    help: str,
    change: Change,
    check: Callable[[object], None] = accept_any,
    show: Callable[[object], object] = show_as_it_is,
) -> Setting[str | None]:
    return Setting(
        ConfigKey(
            "", ValueType.STR, None, help, optional=True, change=change, check=check, show=show
        )
    )


def secret(help: str, check: Callable[[object], None]) -> Setting[str | None]:
    return Setting(
        ConfigKey(
            "",
            ValueType.STR,
            None,
            help,
            optional=True,
            change=FixedBecause.TRUST,
            secret=True,
            check=check,
        )
    )


def integers(
    default: list[int], help: str, minimum: int, maximum: int, change: Change
) -> Setting[list[int]]:
    return Setting(
        ConfigKey(
            "", ValueType.INT_LIST, default, help, minimum=minimum, maximum=maximum, change=change
        )
    )


def optional_integers(
    help: str, minimum: int, maximum: int, change: Change
) -> Setting[list[int] | None]:
    return Setting(
        ConfigKey(
            "",
            ValueType.INT_LIST,
            None,
            help,
            optional=True,
            minimum=minimum,
            maximum=maximum,
            change=change,
        )
    )


def optional_texts(
    help: str,
    change: Change,
    check: Callable[[object], None] = accept_any,
    choices: tuple[str, ...] | None = None,
) -> Setting[list[str] | None]:
    return Setting(
        ConfigKey(
            "",
            ValueType.STR_LIST,
            None,
            help,
            optional=True,
            change=change,
            check=check,
            choices=choices,
        )
    )


def optional_object(help: str, change: Change) -> Setting[dict[str, object] | None]:
    return Setting(ConfigKey("", ValueType.DICT, None, help, optional=True, change=change))
