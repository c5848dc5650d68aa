"""Admin pages of users and API tokens; every change goes through the services."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from controlplane.accounts import services
from controlplane.accounts.actors import user_actor
from controlplane.accounts.forms import ApiTokenForm, UserForm
from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.adminsite import show
from controlplane.adminsite.tokens import TokenAdmin
from controlplane.middleware import request_id_of
from controlplane.rest.admin import RoleModelAdmin

# Roles decide here; groups would be a second, silent system beside them.
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(RoleModelAdmin):
    """Users and their roles."""

    reads = "users"
    view_role = UserRole.ADMIN
    form = UserForm
    fields = ("username", "email", "role", "is_active", "new_password")
    list_display = ("username", "role", "is_active", "last_login", "date_joined", "tokens", "deeds")
    list_filter = ("role", "is_active")
    search_fields = ("username", "email")
    search_help_text = "Part of a name or an e-mail address."
    date_hierarchy = "date_joined"
    ordering = ("username",)

    @admin.display(description="API tokens")
    def tokens(self, user: User) -> SafeString:
        """The user's tokens."""
        return show.list_of("accounts_apitoken", "tokens", user=user.pk)

    @admin.display(description="audit entries")
    def deeds(self, user: User) -> SafeString:
        """What the user did, logged in."""
        name = user.get_username()
        return show.list_of("audit_auditentry", "entries", actor_name=name)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A user keeps the name: the audit log knows it."""
        return () if obj is None else ("username",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: an inactive user cannot log in and keeps the history readable."""
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # noqa: FBT001
        """Make or change the user, on the record."""
        data = form.cleaned_data
        actor, request_id = user_actor(request), request_id_of(request)
        if change:
            changes = {name: data[name] for name in services.CHANGEABLE if name in data}
            if data["new_password"]:
                changes["password"] = data["new_password"]
            services.update_user(obj, changes, actor=actor, request_id=request_id)
            return
        user = services.create_user(
            username=data["username"],
            password=data["new_password"],
            email=data["email"],
            role=UserRole(data["role"]),
            is_active=data["is_active"],
            actor=actor,
            request_id=request_id,
        )
        obj.pk = user.pk


@admin.register(ApiToken)
class ApiTokenAdmin(TokenAdmin):
    """API tokens."""

    reads = "tokens"
    form = ApiTokenForm
    list_display = (
        "name",
        "user_link",
        "role",
        "prefix",
        "state_mark",
        "created_at",
        "expires_at",
        "last_used_at",
        "deeds",
    )
    list_filter = ("role", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    search_help_text = "Part of a name, of a user's name, or the beginning of the token."
    fields = ("user", "name", "role", "expires_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What is asked for, and for a token that exists what is known."""
        shown = ("prefix", "created_at", "revoked_at", "last_used_at", "deeds")
        return ("user_link", *self.fields[1:], *shown) if obj is not None else tuple(self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What is known, not asked for."""
        return ("user_link", "deeds")

    @admin.display(description="user", ordering="user__username")
    def user_link(self, token: ApiToken) -> SafeString:
        """Whose it is."""
        return show.link(show.change_url("accounts_user", token.user_id), token.user)

    @admin.display(description="audit entries")
    def deeds(self, token: ApiToken) -> SafeString:
        """What was done with it."""
        name = f"{token.user.get_username()}/{token.name}"
        return show.list_of("audit_auditentry", "entries", actor_name=name)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """Make the token, on the record."""
        data = form.cleaned_data
        issued = services.create_token(
            user=data["user"],
            name=data["name"],
            role=UserRole(data["role"]),
            expires_at=data["expires_at"],
            granted_by=UserRole.ADMIN,
            actor=user_actor(request),
            request_id=request_id_of(request),
        )
        obj.pk = issued.token.pk
        obj.plaintext = issued.plaintext

    @admin.action(description="Revoke the selected tokens", permissions=["add"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Make the tokens useless from now on."""
        for token in queryset:
            services.revoke_token(
                token, actor=user_actor(request), request_id=request_id_of(request)
            )
        self.message_user(request, "The tokens are revoked.", messages.SUCCESS)
