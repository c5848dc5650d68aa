"""One key of the configuration of selected agents, changed on all of them at once."""

from dataclasses import dataclass
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.dashboard.fleet_settings import FleetSettings, Setting
from controlplane.dashboard.forms import ReasonForm
from controlplane.dashboard.selections import forget, recall
from controlplane.dashboard.views.base import DashboardView
from controlplane.dashboard.views.way_back import way_back
from controlplane.fleet.models import Agent
from controlplane.middleware import request_id_of
from controlplane.operations.planning import Plan, plan_operation, was_planned
from controlplane.operations.runner import shared_runner
from controlplane.operations.selecting import Selector
from engine.contract import ContractError, endpoint

_CHANGED = (
    "Since you looked, agents went or were changed. Look at what would happen now, and confirm "
    "again."
)
_NO_CHANGE = "All of them have that value already; give another one."


@dataclass(frozen=True)
class _Wish:
    """What a person asks for; "" and None as long as it is not said."""

    agents: list[str]
    key: str
    text: str | None

    def known(self) -> list[str]:
        """Those of the agents that are registered."""
        found = Agent.objects.filter(name__in=self.agents).order_by("name")
        return list(found.values_list("name", flat=True))


class FleetSettingsPage(DashboardView):
    """Asks for a key, then for its value, and shows what that changes before it happens."""

    reads = "config-revisions"
    section = "fleet"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask, and show what is known so far."""
        if not self.may(UserRole.OPERATOR):
            return redirect("dashboard:fleet")
        selection = recall(request.session, request.GET.get("selection", ""))
        agents = [*request.GET.getlist("agent"), *selection.agents]
        return self._ask(_wish(request, agents), ReasonForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make the operation, if what was looked at still holds, and show it."""
        wish = _wish(request, request.POST.get("agents", "").split())
        form = ReasonForm(request.POST)
        preview = FleetSettings(wish.known()).preview(wish.key, wish.text or "")
        if not form.is_valid() or any(setting.problem for setting in preview):
            return self._ask(wish, form, HTTPStatus.BAD_REQUEST)
        seen = request.POST.get("seen", "")
        if not seen and not _seen(preview):
            form.add_error(None, _NO_CHANGE)
            return self._ask(wish, form, HTTPStatus.BAD_REQUEST)
        plan = _plan(seen, preview, wish.key, form.cleaned_data["reason"])
        key, actor = form.cleaned_data["key"], user_actor(request)
        try:
            if _seen(preview) != seen and not was_planned(plan, key=key, actor=actor):
                form.add_error(None, _CHANGED)
                return self._ask(wish, form, HTTPStatus.CONFLICT)
            planned = plan_operation(plan, key=key, actor=actor, request_id=request_id_of(request))
        except ContractError as error:
            form.add_error(None, error.message)
            return self._ask(wish, form, HTTPStatus(error.status))
        shared_runner().start(planned.operation)
        forget(request.session, request.POST.get("selection", ""))
        return HttpResponseRedirect(reverse("dashboard:operation", args=[planned.operation.pk]))

    def _ask(
        self, wish: _Wish, form: ReasonForm, status: HTTPStatus = HTTPStatus.OK
    ) -> HttpResponse:
        known = wish.known()
        fleet = FleetSettings(known)
        context: dict[str, object] = {
            "known": known,
            "missing": sorted({*wish.agents} - {*known}),
            "names": fleet.names(),
            "form": form,
            **way_back(self.request, known),
        }
        having = fleet.with_key(wish.key)
        if having:
            lacking = sorted({*known} - {*having})
            context |= {"setting": wish.key, "having": having, "lacking": lacking}
            context |= _about(fleet, wish)
        return self.page("dashboard/fleet_settings.html", context, status)


def _about(fleet: FleetSettings, wish: _Wish) -> dict[str, object]:
    """The input of the key, and once there is a value what that would change."""
    if wish.text is None:
        return {"field": fleet.field(wish.key, None)}
    preview = fleet.preview(wish.key, wish.text)
    problem = next((setting.problem for setting in preview if setting.problem), "")
    return {
        "field": fleet.field(wish.key, wish.text, problem),
        "preview": preview,
        "called": [setting for setting in preview if setting.is_to_change and not problem],
        "seen": _seen(preview),
    }


def _wish(request: HttpRequest, agents: list[str]) -> _Wish:
    fields = request.POST if request.method == "POST" else request.GET
    return _Wish(agents, fields.get("setting", ""), fields.get("value"))


def _seen(preview: list[Setting]) -> str:
    """Who would be called, and the revision by which that was found."""
    return " ".join(f"{one.agent} {one.revision}" for one in preview if one.is_to_change)


def _plan(seen: str, preview: list[Setting], key: str, reason: str) -> Plan:
    """What was looked at, whatever has become of it since."""
    agents = seen.split()[::2]
    return Plan(
        endpoint=endpoint("update_conf"),
        selector=Selector(agents=tuple(agents)),
        body={key: preview[0].then} if preview else {},
        timeout_s=settings.KVPLANE_AGENT_TIMEOUT,
        reason=reason,
    )
