"""Admin pages of the fleet; every change goes through the services."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from controlplane.accounts.actors import user_actor
from controlplane.adminsite import show
from controlplane.adminsite.agents import ON_AGENTS
from controlplane.adminsite.calls import call_page, calls_page
from controlplane.adminsite.confirming import ConfirmingAdmin
from controlplane.adminsite.filters import exact
from controlplane.adminsite.overview import overview
from controlplane.adminsite.pages import Tool
from controlplane.adminsite.switched import attach_modes
from controlplane.adminsite.tokens import TokenAdmin
from controlplane.adminsite.watches import condition_of
from controlplane.fleet import services
from controlplane.fleet.forms import AgentForm, EngineForm
from controlplane.fleet.models import Agent, Engine, EnrolmentToken
from controlplane.middleware import request_id_of
from controlplane.reconcile.models import Watch
from controlplane.rest.admin import RoleModelAdmin


@admin.register(Engine)
class EngineAdmin(RoleModelAdmin):
    """Engines."""

    reads = "engines"
    form = EngineForm
    list_display = ("name", "labels_shown", "agents_link", "entries_link", "created_at")
    search_fields = ("name",)
    search_help_text = "Part of a name."
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the number of agents."""
        engines: QuerySet[Any] = super().get_queryset(request).annotate(agent_count=Count("agents"))
        return engines

    @admin.display(description="labels")
    def labels_shown(self, engine: Engine) -> SafeString:
        """Its labels."""
        return show.labels(engine.labels)

    @admin.display(description="agents", ordering="agent_count")
    def agents_link(self, engine: Any) -> SafeString:
        """Its agents."""
        return show.list_of("fleet_agent", engine.agent_count, engine=engine.name)

    @admin.display(description="audit entries")
    def entries_link(self, engine: Engine) -> SafeString:
        """What happened to its agents."""
        return show.list_of("audit_auditentry", "entries", engine=engine.name)

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
class AgentAdmin(ConfirmingAdmin):
    """Agents. The token goes in and never comes out."""

    reads = "agents"
    form = AgentForm
    confirmations = ON_AGENTS
    panel_template = "admin/kvplane/agent_panel.html"
    list_display = (
        "name",
        "engine",
        "role",
        "health_mark",
        "modes_shown",
        "condition",
        "url",
        "last_seen_at",
    )
    list_filter = (
        "health",
        "role",
        "dialect",
        ("left_at", admin.EmptyFieldListFilter),
        exact("engine", narrow=lambda agents, name: agents.filter(engine__name=name)),
    )
    list_select_related = ("engine", "watch")
    search_fields = ("name", "url", "engine__name", "instance_id")
    search_help_text = "Part of a name, an engine's name, a URL or an instance id."
    date_hierarchy = "registered_at"
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
    _known = (
        *("boot_id", "enrolled_with", "registered_at", "last_seen_at", "left_at", "health"),
        "last_said",
    )

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

    def get_urls(self) -> list[URLPattern]:
        """Agents by name, and their calls."""
        view = self.admin_site.admin_view
        calls = "<int:key>/call/"
        return [
            path("named/<str:name>/", view(self.named_view), name="fleet_agent_named"),
            path(calls, view(self.calls_view), name="fleet_agent_calls"),
            path(f"{calls}<str:operation_id>/", view(self.call_view), name="fleet_agent_call"),
            *super().get_urls(),
        ]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The page, with the modes of its agents."""
        page = super().get_changelist_instance(request)
        page.result_list = list(page.result_list)
        attach_modes(page.result_list)
        return page

    def tools(self, request: HttpRequest, record: Agent) -> list[Tool]:
        """What can be done with it, and its calls."""
        calls = Tool("Calls", reverse("admin:fleet_agent_calls", args=[record.pk]))
        return [*super().tools(request, record), calls]

    def panel(self, request: HttpRequest, record: Agent) -> dict[str, object]:
        """Everything about it."""
        return overview(record)

    def named_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """The page of the agent of that name; of one that is not known any more, what the
        audit log tells."""
        self.follow_read(request)
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = Agent.objects.filter(name=name).values_list("pk", flat=True).first()
        if key is not None:
            return HttpResponseRedirect(show.change_url("fleet_agent", key))
        text = f"No agent is called '{name[:128]}' now; this is what happened to it."
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(show.list_url("audit_auditentry", agent=name))

    def calls_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Every documented endpoint as a form."""
        return calls_page(request, self._agent(request, key))

    def call_view(self, request: HttpRequest, key: int, operation_id: str) -> HttpResponse:
        """One of them, and what the agent answers."""
        return call_page(request, self._agent(request, key), operation_id)

    def _agent(self, request: HttpRequest, key: int) -> Agent:
        self.follow_read(request)
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Agent.objects.select_related("engine"), pk=key)

    @admin.display(description="health", ordering="health")
    def health_mark(self, agent: Agent) -> SafeString:
        """How its process is."""
        return show.state("left" if agent.left_at is not None else agent.health)

    @admin.display(description="modes")
    def modes_shown(self, agent: Any) -> SafeString:
        """What is switched."""
        return show.modes(agent.modes)

    @admin.display(description="drift")
    def condition(self, agent: Agent) -> SafeString:
        """Whether it is as it should be."""
        watch = getattr(agent, "watch", None)
        return show.state("unknown" if watch is None else condition_of(watch))

    @admin.display(description="last status")
    def last_said(self, agent: Agent) -> SafeString:
        """What it said last."""
        return show.document(agent.last_status)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What goes with the agents. The control loop's notes on an agent are nobody's to
        delete alone, and go with it."""
        deleted, counts, needed, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, needed - {str(Watch._meta.verbose_name)}, protected

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Forget the agent, on the record."""
        services.remove_agent(obj, actor=user_actor(request), request_id=request_id_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Forget the agents, each on the record."""
        for agent in queryset.select_related("engine"):
            self.delete_model(request, agent)


@admin.register(EnrolmentToken)
class EnrolmentTokenAdmin(TokenAdmin):
    """Enrolment tokens."""

    reads = "enrolment-tokens"
    list_display = ("name", "prefix", "state_mark", "agents_link", "created_at", "expires_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix")
    search_help_text = "Part of a name, or the beginning of the token."

    @admin.display(description="agents")
    def agents_link(self, token: EnrolmentToken) -> SafeString:
        """The agents that came with it."""
        return show.list_of("fleet_agent", "agents", enrolled_with__id__exact=token.pk)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What is asked for, and for a token that exists what is known."""
        asked = ("name", "expires_at")
        return asked if obj is None else (*asked, "prefix", "created_at", "revoked_at")

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

    @admin.action(description="Revoke the selected tokens", permissions=["add"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[EnrolmentToken]) -> None:
        """Make the tokens useless from now on."""
        for token in queryset:
            services.revoke_enrolment_token(
                token, actor=user_actor(request), request_id=request_id_of(request)
            )
        self.message_user(request, "The tokens are revoked.", messages.SUCCESS)
