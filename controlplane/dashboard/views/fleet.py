"""The fleet, and what is done to selected agents of it."""

from collections import Counter
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.audit import trail
from controlplane.dashboard.actions import ACTIONS, Action, Chosen, backends_of, choose
from controlplane.dashboard.fleet_filter import FleetFilter
from controlplane.dashboard.fleet_rows import AgentRow, EngineRows, read_fleet
from controlplane.dashboard.forms import ActionForm
from controlplane.dashboard.selections import Selection, forget, keep, recall
from controlplane.dashboard.views.base import DashboardView
from controlplane.dashboard.views.way_back import way_back
from controlplane.middleware import request_id_of
from controlplane.operations.effects import CONF_UPDATE
from controlplane.operations.planning import plan_operation
from controlplane.operations.runner import shared_runner
from engine.contract import ContractError

# Not a line's end: browsers write that as two characters.
_SEPARATOR = " "
_CHANGED = (
    "Not all of the agents that you confirmed can be called any more. Look at those that are "
    "left, and confirm again."
)


class FleetPage(DashboardView):
    """All engines and agents."""

    reads = "agents"
    section = "fleet"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The table, filtered as the address says."""
        fleet = read_fleet()
        filters = FleetFilter(request.GET)
        shown = filters.apply(fleet)
        context: dict[str, object] = {
            "fleet": shown,
            "count": sum(len(engine.rows) for engine in shown),
            "summary": _summary(fleet),
            "filters": filters,
            "asked_for": _filters_of(request),
            "selected": {*recall(request.session, request.GET.get("selection", "")).agents},
        }
        if self.is_part():
            return self.part("dashboard/_fleet.html", context)
        context |= {
            "engines": [engine.name for engine in fleet],
            "actions": ACTIONS.values(),
            "conf_update": CONF_UPDATE,
        }
        status = HTTPStatus.OK if filters.is_valid() else HTTPStatus.BAD_REQUEST
        return self.page("dashboard/fleet.html", context, status)


class SelectPage(DashboardView):
    """Takes a selection, and leads to the page that asks about it: at an address that is
    short, and that can be loaded again and gone back to."""

    reads = "agents"

    def post(self, request: HttpRequest) -> HttpResponse:
        """Keep it for the next page; nothing is changed by that."""
        action = request.POST.get("action", "")
        if action != CONF_UPDATE:
            action = _action_of(action).name
        if (followed := trail.current()) is not None:
            followed.reads = self.reads
        selection = Selection(request.POST.getlist("agent"), request.POST.get("filters", ""))
        query = {"selection": keep(request.session, selection)}
        if action == CONF_UPDATE:
            return HttpResponseRedirect(f"{reverse('dashboard:fleet_settings')}?{urlencode(query)}")
        query = {"action": action, **query}
        return HttpResponseRedirect(f"{reverse('dashboard:confirm')}?{urlencode(query)}")


class ConfirmPage(DashboardView):
    """What will happen to how many, and why: the step before it happens."""

    reads = "agents"
    section = "fleet"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask."""
        if not self.may(UserRole.OPERATOR):
            return redirect("dashboard:fleet")
        action = _action_of(request.GET.get("action", ""))
        selection = recall(request.session, request.GET.get("selection", ""))
        names = [*request.GET.getlist("agent"), *selection.agents]
        return self._ask(action, names, ActionForm(action))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make the operation, and show it."""
        action = _action_of(request.POST.get("action", ""))
        names = request.POST.get("agents", "").split()
        form = ActionForm(action, request.POST)
        if not form.is_valid():
            return self._ask(action, names, form, HTTPStatus.BAD_REQUEST)
        chosen = choose(names, action)
        if chosen.missing or chosen.left_out:
            # What was confirmed is what is done, or nothing.
            form.add_error(None, _CHANGED)
            return self._ask(action, names, form, HTTPStatus.CONFLICT)
        called = [agent.name for agent in chosen.called]
        try:
            planned = plan_operation(
                form.to_plan(called),
                key=form.cleaned_data["key"],
                actor=user_actor(request),
                request_id=request_id_of(request),
            )
        except ContractError as error:
            form.add_error(None, error.message)
            return self._ask(action, names, form, HTTPStatus(error.status))
        shared_runner().start(planned.operation)
        forget(request.session, request.POST.get("selection", ""))
        return HttpResponseRedirect(reverse("dashboard:operation", args=[planned.operation.pk]))

    def _ask(
        self,
        action: Action,
        names: list[str],
        form: ActionForm,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> HttpResponse:
        chosen = choose(names, action)
        return self.page(
            "dashboard/confirm.html",
            {
                "action": action,
                **way_back(self.request, [a.name for a in (*chosen.called, *chosen.left_out)]),
                "chosen": chosen,
                "agents": _SEPARATOR.join(agent.name for agent in chosen.called),
                "by_engine": _by_engine(chosen),
                "backends": backends_of(chosen.called),
                "form": form,
            },
            status,
        )


def _filters_of(request: HttpRequest) -> str:
    """The address's query without what was selected."""
    query = request.GET.copy()
    query.pop("selection", None)
    return query.urlencode()


def _action_of(name: str) -> Action:
    if name not in ACTIONS:
        raise ContractError(
            400, "Unknown action", f"'action' must be one of {', '.join(sorted(ACTIONS))}."
        )
    return ACTIONS[name]


def _by_engine(chosen: Chosen) -> list[tuple[str, list[str]]]:
    engines: dict[str, list[str]] = {}
    for agent in chosen.called:
        engines.setdefault(agent.engine.name, []).append(agent.name)
    return sorted(engines.items())


def _summary(fleet: list[EngineRows]) -> dict[str, int]:
    """How many agents there are, and in how many something is notable."""
    rows: list[AgentRow] = [row for engine in fleet for row in engine.rows]
    health = Counter(row.health for row in rows)
    states = Counter(kind for row in rows for kind in {badge.kind for badge in row.badges})
    return {
        "engines": len(fleet),
        "agents": len(rows),
        **{name: health[name] for name in ("online", "unknown", "offline", "left")},
        "drift": states["drift"],
        "frozen": states["frozen"],
        "bypassed": states["bypassed"],
        "hot_cache_off": states["hot-cache-off"],
    }
