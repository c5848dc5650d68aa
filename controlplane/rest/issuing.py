"""The admin page that shows a new token, once."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse


def issued_page(request: HttpRequest, token: Model, name: str, plaintext: str) -> HttpResponse:
    """The token in the clear. A message after a redirect would store it in the
    session or in a cookie; this page is stored nowhere."""
    meta = token._meta
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": meta.verbose_name,
        "what": str(meta.verbose_name).capitalize(),
        "name": name,
        "plaintext": plaintext,
        "list_url": reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"),
    }
    # The admin forbids caching of all its pages.
    return TemplateResponse(request, "admin/accounts/issued.html", context)
