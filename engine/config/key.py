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
    STR_LIST = "list[str]"
    DICT = "dict"


class Applies(StrEnum):
    """When a change of a key takes effect."""

    NOW = "now"
    ON_LOOKUP_RECREATE = "on lookup recreate"
    NEVER = "never"
    """The process must restart; the key is immutable over the API."""


class FixedBecause(StrEnum):
    """Why a key cannot be changed while the process runs, as its help says it."""

    IN_KEYS = "Fixed at the start: every stored chunk was made with it."
    ALLOCATED = "Fixed at the start: memory is laid out by it."
    AT_START = "Fixed at the start: it is read once then; the API has a call for later."
    OPENED = "Fixed at the start: files, threads and connections were opened with it."
    LISTENING = "Fixed at the start: the ports are bound by it."
    IDENTITY = "Fixed at the start: the agent is known by it."
    BLOCKS = "Fixed inside vLLM, whose KV moves in whole blocks."
    TRUST = "Never over the API: whoever changed it could take the agent over."


def accept_any(value: object) -> None:
    """The check of a key that has none beyond its type and range."""


def show_as_it_is(value: object) -> object:
    """The value itself: nothing in it is secret."""
    return value


@dataclass(frozen=True)
class ConfigKey:
    """One configuration key.

    `minimum` and `maximum` bound a number, and every item of a `list[int]`; both
    are values that are allowed. `check` looks at a converted value and raises
    InvalidValueError; it is not called for None. `show` gives what people see of
    a value that is not secret as a whole. `change` says when a change takes effect,
    or why there can be none.
    """

    name: str
    type: ValueType
    default: object
    help: str
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    change: Applies | FixedBecause = Applies.NOW
    secret: bool = False
    check: Callable[[object], None] = accept_any
    show: Callable[[object], object] = show_as_it_is

    @property
    def mutable(self) -> bool:
        """Whether the key can be changed while the process runs."""
        return isinstance(self.change, Applies)

    @property
    def applies(self) -> Applies:
        """When a change of the key takes effect."""
        return self.change if isinstance(self.change, Applies) else Applies.NEVER

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
            "help": self.help if self.mutable else f"{self.help} {self.change.value}",
        }
