"""The admin site: every active user may look, roles decide what else."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from controlplane.accounts import services
from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import User, UserRole
from controlplane.adminsite.chain import chain_context
from controlplane.middleware import request_id_of

_ALLOWED = {
    UserRole.VIEWER: "may look; only admins change anything here.",
    UserRole.OPERATOR: "may look and act on agents; only admins change what is registered.",
}


class ControlPlaneAdminSite(AdminSite):
    """Lets every active user in; each ModelAdmin asks for the role it needs."""

    site_header = "KVPlane"
    site_title = "KVPlane"
    index_title = "Control plane"
    index_template = "admin/kvplane/index.html"
    site_url = "/api/docs/"
    # Django's own asks for `is_staff`, which plays no part here.
    login_form = AuthenticationForm

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the user may see the admin at all."""
        return request.user.is_active

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Log in, and say to whoever is no admin what the role allows."""
        response = super().login(request, extra_context)
        user = request.user
        if request.method != "POST" or not isinstance(user, User):
            return response
        if (allowed := _ALLOWED.get(user.access_role)) is not None:
            messages.info(request, f"The role '{user.access_role}' {allowed}")
        return response

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The index, with the state of the audit chain."""
        return super().index(request, {**chain_context(request), **(extra_context or {})})

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Change one's own password, on the record."""
        request.current_app = self.name
        return _PasswordChangeView.as_view(
            form_class=AdminPasswordChangeForm,
            success_url=reverse("admin:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )(request)


class _PasswordChangeView(PasswordChangeView):
    def form_valid(self, form: Any) -> HttpResponse:
        user = services.update_user(
            form.user,
            {"password": form.cleaned_data["new_password1"]},
            actor=user_actor(self.request),
            request_id=request_id_of(self.request),
        )
        update_session_auth_hash(self.request, user)
        return HttpResponseRedirect(self.get_success_url())
