"""The page of one record: what can be done with it, and what belongs to it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib.admin.utils import unquote
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from controlplane.rest.admin import RoleModelAdmin


@dataclass(frozen=True)
class Tool:
    """A button above the page."""

    label: str
    url: str
    name: str = ""


class PageAdmin(RoleModelAdmin):
    """Shows buttons above the fields of a record and a panel before them."""

    change_form_template = "admin/kvplane/page.html"
    panel_template: ClassVar[str] = ""

    def tools(self, request: HttpRequest, record: Any) -> list[Tool]:
        """The buttons for this record and this user."""
        return []

    def panel(self, request: HttpRequest, record: Any) -> dict[str, object]:
        """What the template of the panel needs."""
        return {}

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page, with buttons and panel if there is such a record."""
        record = None if object_id is None else self.get_object(request, unquote(object_id))
        if isinstance(record, Model) and self.has_view_permission(request, record):
            extra_context = {
                **(extra_context or {}),
                "tools": self.tools(request, record),
                "panel_template": self.panel_template,
                "panel": self.panel(request, record),
            }
        return super().changeform_view(request, object_id, form_url, extra_context)
