"""Typed class attributes that read a key's current value."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, Protocol, TypeVar, cast

from engine.config.key import Applies, ConfigKey, ValueType, accept_any

T = TypeVar("T")


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


def boolean(default: bool, help: str, applies: Applies = Applies.NEVER) -> Setting[bool]:  # noqa: FBT001
    return Setting(ConfigKey("", ValueType.BOOL, default, help, applies=applies))


def integer(
    default: int,
    help: str,
    minimum: int,
    maximum: int,
    applies: Applies = Applies.NEVER,
) -> Setting[int]:
    return Setting(
        ConfigKey(
            "", ValueType.INT, default, help, minimum=minimum, maximum=maximum, applies=applies
        )
    )


def number(default: float, help: str, minimum: float, maximum: float) -> Setting[float]:
    return Setting(ConfigKey("", ValueType.FLOAT, default, help, minimum=minimum, maximum=maximum))


def text(default: str, help: str, check: Callable[[object], None] = accept_any) -> Setting[str]:
    return Setting(ConfigKey("", ValueType.STR, default, help, check=check))


def choice(default: str, help: str, choices: tuple[str, ...]) -> Setting[str]:
    return Setting(ConfigKey("", ValueType.STR, default, help, choices=choices))


def optional_text(help: str, check: Callable[[object], None] = accept_any) -> Setting[str | None]:
    return Setting(ConfigKey("", ValueType.STR, None, help, optional=True, check=check))


def secret(help: str, check: Callable[[object], None]) -> Setting[str | None]:
    return Setting(
        ConfigKey("", ValueType.STR, None, help, optional=True, secret=True, check=check)
    )


def integers(default: list[int], help: str, minimum: int, maximum: int) -> Setting[list[int]]:
    return Setting(
        ConfigKey("", ValueType.INT_LIST, default, help, minimum=minimum, maximum=maximum)
    )


def optional_integers(help: str, minimum: int, maximum: int) -> Setting[list[int] | None]:
    return Setting(
        ConfigKey(
            "", ValueType.INT_LIST, None, help, optional=True, minimum=minimum, maximum=maximum
        )
    )


def optional_object(help: str) -> Setting[dict[str, object] | None]:
    return Setting(ConfigKey("", ValueType.DICT, None, help, optional=True))
