"""The form of a call, as a page shows it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.utils.html import escape
from django.utils.safestring import mark_safe

_QUOTED = re.compile("`([^`]+)`")


def marked(text: str) -> str:
    """The text as HTML, with what stands between backticks as code."""
    return mark_safe(_QUOTED.sub(r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped


class Input(StrEnum):
    """How a value is typed in."""

    TEXT = "text"
    PASSWORD = "password"  # noqa: S105 - a kind of input
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    MOMENT = "moment"
    """A date and time, in the person's own time zone."""
    LINES = "lines"
    """Several texts, one a line."""
    JSON = "json"


class Place(StrEnum):
    """Where a value is sent."""

    QUERY = "query"
    HEADER = "header"
    BODY = "body"


@dataclass(frozen=True)
class Field:
    """One value of a call. A nested one of the body has dots in its name."""

    name: str
    input: Input = Input.TEXT
    place: Place = Place.QUERY
    label: str = ""
    help: str = ""
    required: bool = False
    nullable: bool = False
    placeholder: str = ""
    default: str = ""
    """What holds if it is left out, as it would be written."""
    value: str = ""
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    max_length: int | None = None

    @property
    def about(self) -> str:
        """The help, with what it quotes as code."""
        return marked(self.help)

    @property
    def html_type(self) -> str:
        """The type of an HTML input. A moment in a query is written as text, so that a page
        shows again what it was asked for."""
        if self.input is Input.MOMENT and self.place is not Place.QUERY:
            return "datetime-local"
        return self.input if self.input in (Input.NUMBER, Input.PASSWORD) else "text"


@dataclass(frozen=True)
class FieldGroup:
    """Fields under one heading; the first group of a form has none."""

    title: str
    help: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Example:
    """Values that one click fills in, by name; nested as in the body."""

    title: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class CallForm:
    """The form of one method on a path."""

    key: str
    """Unique on the page."""
    method: str
    path: str
    title: str
    description: str
    groups: tuple[FieldGroup, ...] = ()
    examples: tuple[Example, ...] = ()
    takes_json: bool = False
    """Whether there is a body, which may be written as JSON instead."""
    free_body: str = ""
    """An example of a body without fixed fields; empty where there is none."""
    refusal: str = ""
    """Why the viewer may not send it; empty if they may."""
    made_at: str = ""
    """Where what it makes is found, with `{}` for its name or number."""

    @property
    def about(self) -> str:
        """The description, with what it quotes as code."""
        return marked(self.description)

    @property
    def example_values(self) -> list[Mapping[str, object]]:
        """The values of the examples, for the page's script."""
        return [example.values for example in self.examples]
