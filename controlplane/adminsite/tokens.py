"""What the admin pages of tokens have in common."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from controlplane.accounts.models import UserRole
from controlplane.adminsite import show
from controlplane.rest.admin import RoleModelAdmin
from controlplane.rest.issuing import issued_page


class TokenAdmin(RoleModelAdmin):
    """Tokens: made and revoked, never changed, never shown but once. save_model() of a page
    leaves the new one in the record's `plaintext`."""

    view_role = UserRole.ADMIN
    actions = ("revoke",)
    date_hierarchy = "created_at"

    @admin.display(description="state")
    def state_mark(self, token: Any) -> SafeString:
        """Whether it can be used."""
        return show.state(show.usability(token))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: the list alone needs it, for its action."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a revoked token stays on the list."""
        return False

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token, once."""
        return issued_page(request, obj, obj.name, obj.plaintext)
