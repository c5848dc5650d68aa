"""Reading pages as a test does: their forms, and what can be typed into them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_CONTROLS = ("input", "select", "textarea")


@dataclass
class Form:
    """A form of a page: its attributes and its controls, by name."""

    attributes: dict[str, str]
    controls: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method of the call, "" for a form that is not one of a call."""
        return self.attributes.get("data-call-method", "")


class Page(HTMLParser):
    """A page; `text` is what a person reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.loaded: list[str] = []
        self._texts: list[str] = []
        self._open: Form | None = None
        self.feed(html)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def call(self, method: str) -> Form:
        """The form of the call with that method."""
        (form,) = (form for form in self.forms if form.method == method)
        return form

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in given}
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "form":
            self._open = Form(attributes)
            self.forms.append(self._open)
        elif tag in _CONTROLS and self._open is not None:
            name = attributes.get("name", attributes.get("id", ""))
            self._open.controls[name] = {**attributes, "tag": tag}
        elif tag == "a":
            self.links.append(attributes.get("href", ""))
        elif tag == "label":
            self.labelled.add(attributes.get("for", ""))
        elif tag in ("script", "link", "img") and (
            url := attributes.get("src", attributes.get("href"))
        ):
            self.loaded.append(url)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None

    def handle_data(self, data: str) -> None:
        self._texts.append(data)


def opened(api: Any, path: str, status: int = 200) -> Page:
    """The page that a browser gets there, with that status."""
    answer = api.get(path, headers=HTML)
    assert answer.status_code == status, answer.content
    return Page(answer.content.decode())
