"""Admin pages of the fleet; every change goes through the services."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.fleet import services
from controlplane.fleet.forms import AgentForm, EngineForm
from controlplane.fleet.models import Agent, Engine, EnrolmentToken
from controlplane.middleware import request_id_of
from controlplane.rest.admin import RoleModelAdmin
from controlplane.rest.issuing import issued_page


@admin.register(Engine)
class EngineAdmin(RoleModelAdmin):
    """Engines."""

    form = EngineForm
    list_display = ("name", "labels", "created_at")
    search_fields = ("name",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """Make or change the engine, on the record."""
        stored = Engine.objects.get(pk=obj.pk) if change else Engine()
        saved = services.save_engine(
            stored,
            name=form.cleaned_data["name"],
            labels=form.cleaned_data["labels"],
            actor=user_actor(request),
            request_id=request_id_of(request),
        )
        obj.pk = saved.pk

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Forget the engine, on the record."""
        services.remove_engine(obj, actor=user_actor(request), request_id=request_id_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Forget the engines, each on the record."""
        for engine in queryset:
            self.delete_model(request, engine)


@admin.register(Agent)
class AgentAdmin(RoleModelAdmin):
    """Agents. The token goes in and never comes out."""

    form = AgentForm
    list_display = (
        "name",
        "engine",
        "role",
        "worker_id",
        "url",
        "dialect",
        "last_seen_at",
        "left_at",
    )
    list_filter = ("role", "dialect", "engine")
    list_select_related = ("engine",)
    search_fields = ("name", "url", "engine__name", "instance_id")
    _asked = (
        "name",
        "engine",
        "role",
        "worker_id",
        "url",
        "dialect",
        "labels",
        "instance_id",
        "new_token",
    )
    _known = ("boot_id", "enrolled_with", "registered_at", "last_seen_at", "left_at", "last_status")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What can be given, and for a known agent what is known."""
        return self._asked if obj is None else (*self._asked, *self._known)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """An agent keeps its name: URLs and the audit log know it."""
        return () if obj is None else ("name", *self._known)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """Register or change the agent, on the record."""
        registration = services.register_agent(
            form.cleaned_data["spec"],
            actor=user_actor(request),
            request_id=request_id_of(request),
        )
        obj.pk = registration.agent.pk

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Forget the agent, on the record."""
        services.remove_agent(obj, actor=user_actor(request), request_id=request_id_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Forget the agents, each on the record."""
        for agent in queryset.select_related("engine"):
            self.delete_model(request, agent)


@admin.register(EnrolmentToken)
class EnrolmentTokenAdmin(RoleModelAdmin):
    """Enrolment tokens: made and revoked, never changed, never shown."""

    view_role = UserRole.ADMIN
    list_display = ("name", "prefix", "created_at", "expires_at", "revoked_at")
    search_fields = ("name", "prefix")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What is asked for, and for a token that exists what is known."""
        asked = ("name", "expires_at")
        return asked if obj is None else (*asked, "prefix", "created_at", "revoked_at")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: the list alone needs it, for its action."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a revoked token stays on the list."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """Make the token, on the record."""
        issued = services.create_enrolment_token(
            name=form.cleaned_data["name"],
            expires_at=form.cleaned_data["expires_at"],
            actor=user_actor(request),
            request_id=request_id_of(request),
        )
        obj.pk = issued.token.pk
        obj.plaintext = issued.plaintext

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token, once."""
        return issued_page(request, obj, obj.name, obj.plaintext)

    @admin.action(description="Revoke the selected tokens", permissions=["add"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[EnrolmentToken]) -> None:
        """Make the tokens useless from now on."""
        for token in queryset:
            services.revoke_enrolment_token(
                token, actor=user_actor(request), request_id=request_id_of(request)
            )
        self.message_user(request, "The tokens are revoked.", messages.SUCCESS)
