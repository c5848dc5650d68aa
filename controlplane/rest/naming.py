"""What the page of a view is called."""

from typing import Any


def view_name(view: Any) -> str:
    """DRF's VIEW_NAME_FUNCTION: the view's `name`, else the name of its model in the plural
    for a list and with the object's own name or number for one object."""
    name = getattr(view, "name", None)
    if name is not None:
        return str(name)
    queryset = getattr(view, "queryset", None)
    if queryset is None:
        return type(view).__name__.removesuffix("View")
    meta = queryset.model._meta
    if view.suffix == "List":
        return _capital(str(meta.verbose_name_plural))
    # A view made for the trail of links has no arguments.
    known: dict[str, Any] = getattr(view, "kwargs", {})
    own = " ".join(str(value) for value in known.values())
    return f"{_capital(str(meta.verbose_name))} {own}".strip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
