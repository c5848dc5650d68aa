"""What a configuration key is, as data."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class ValueType(StrEnum):
    """The type of a key's value, written as `GET /conf/schema` shows it."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STR = "str"
    INT_LIST = "list[int]"
    DICT = "dict"


class Applies(StrEnum):
    """When a change of a key takes effect."""

    NOW = "now"
    ON_LOOKUP_RECREATE = "on lookup recreate"
    NEVER = "never"
    """The process must restart; the key is immutable over the API."""


def accept_any(value: object) -> None:
    """The check of a key that has none beyond its type and range."""


@dataclass(frozen=True)
class ConfigKey:
    """One configuration key.

    `minimum` and `maximum` bound a number, and every item of a `list[int]`; both
    are values that are allowed. `check` looks at a converted value and raises
    InvalidValueError; it is not called for None.
    """

    name: str
    type: ValueType
    default: object
    help: str
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    applies: Applies = Applies.NEVER
    secret: bool = False
    check: Callable[[object], None] = accept_any

    @property
    def mutable(self) -> bool:
        """Whether the key can be changed while the process runs."""
        return self.applies is not Applies.NEVER

    def describe(self) -> dict[str, object]:
        """The key as `GET /conf/schema` shows it; JSON-ready."""
        return {
            "type": self.type.value,
            "optional": self.optional,
            "default": self.default,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "choices": None if self.choices is None else list(self.choices),
            "mutable": self.mutable,
            "applies": self.applies.value,
            "secret": self.secret,
            "help": self.help,
        }
