"""One agent: how it is, how it should be, and changing that."""

from http import HTTPStatus

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.dashboard.actions import actions_for
from controlplane.dashboard.fleet_rows import agent_row
from controlplane.dashboard.forms import ReasonForm
from controlplane.dashboard.lookup_chain import lookup_chain
from controlplane.dashboard.modes_table import mode_rows
from controlplane.dashboard.rates import counters_of, tiers_of
from controlplane.dashboard.settings_form import Asked, fields_of, read_changes
from controlplane.dashboard.settings_table import settings_of, was_compared
from controlplane.dashboard.views.base import DashboardView
from controlplane.dashboard.waiting_keys import waiting_keys
from controlplane.fleet.models import Agent, Dialect, Health
from controlplane.middleware import request_id_of
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations.effects import Wishes
from controlplane.operations.planning import Plan, plan_operation
from controlplane.operations.runner import shared_runner
from controlplane.operations.selecting import Selector
from engine.contract import ContractError, endpoint, parse_int

_HISTORY = 20
_INPUT = "set."
_MAX_REVISION = (1 << 31) - 1


class AgentPage(DashboardView):
    """What is known of an agent."""

    reads = "agents"
    section = "fleet"

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Its state, modes with their history, and configuration."""
        agent = _find(name)
        modes = list(DesiredMode.objects.filter(agent=name).select_related("change"))
        revision = configuration.find_active(name)
        watch = getattr(agent, "watch", None)
        keys = configuration.known_schema(name)
        row = agent_row(agent, modes, revision)
        changes = list(ModeChange.objects.filter(agent=name)[: _HISTORY + 1])
        context: dict[str, object] = {
            "agent": agent,
            "watch": watch,
            "row": row,
            "is_word": "Is" if row.health == Health.ONLINE else "Was",
            "modes": mode_rows(agent, modes),
            "changes": changes[:_HISTORY],
            "has_more_changes": len(changes) > _HISTORY,
            "revision": revision,
            "can_edit": revision is not None and bool(keys),
            "tiers": tiers_of(agent.last_status),
            "counters": counters_of(agent.last_status),
            "lookup": lookup_chain(agent.last_status, agent.role),
        }
        if revision is not None:
            context |= {
                "settings": settings_of(revision, agent, watch, keys, waiting_keys(agent, keys)),
                "was_compared": was_compared(revision, agent, watch),
            }
        if self.is_part():
            return self.part("dashboard/_agent.html", context)
        return self.page("dashboard/agent.html", {**context, "actions": actions_for(agent.role)})


class EditPage(DashboardView):
    """The form of an agent's configuration, made from the agent's own schema."""

    reads = "config-revisions"
    section = "fleet"

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask."""
        if not self.may(UserRole.OPERATOR):
            return redirect("dashboard:agent", name)
        return self._ask(_find(name), ReasonForm())

    def post(self, request: HttpRequest, name: str) -> HttpResponse:
        """Change what is asked for, by an operation that builds on the revision that the
        form was made from."""
        agent = _find(name)
        form = ReasonForm(request.POST)
        revision = _active(name)
        asked = read_changes(revision, configuration.known_schema(name), _given(request))
        if form.is_valid() and not asked.changes and not asked.problems:
            form.add_error(None, "Nothing differs from what is there; change a value first.")
        if not form.is_valid() or asked.problems:
            return self._ask(agent, form, asked, HTTPStatus.BAD_REQUEST)
        try:
            planned = plan_operation(
                _plan(agent, asked, request.POST.get("revision", ""), form.cleaned_data["reason"]),
                key=form.cleaned_data["key"],
                actor=user_actor(request),
                request_id=request_id_of(request),
            )
        except ContractError as error:
            form.add_error(None, error.message)
            return self._ask(agent, form, asked, HTTPStatus(error.status))
        shared_runner().start(planned.operation)
        return HttpResponseRedirect(reverse("dashboard:operation", args=[planned.operation.pk]))

    def _ask(
        self,
        agent: Agent,
        form: ReasonForm,
        asked: Asked | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> HttpResponse:
        revision = _active(agent.name)
        keys = configuration.known_schema(agent.name)
        context: dict[str, object] = {
            "agent": agent,
            "revision": revision,
            "base": self.request.POST.get("revision", str(revision.number)),
            "fields": fields_of(revision, keys, _given(self.request), asked),
            "refused": [] if asked is None else sorted(asked.problems),
            "form": form,
        }
        return self.page("dashboard/edit.html", context, status)


def _find(name: str) -> Agent:
    found = Agent.objects.filter(name=name).select_related("engine", "watch").first()
    if found is None:
        raise Http404(
            f"There is no agent '{name[:128]}'. The audit log still tells of removed ones."
        )
    return found


def _given(request: HttpRequest) -> dict[str, str]:
    """What stands in the inputs of keys, if the form was sent."""
    sent = request.POST.items()
    return {name.removeprefix(_INPUT): str(text) for name, text in sent if name.startswith(_INPUT)}


def _active(name: str) -> ConfigRevision:
    revision = configuration.find_active(name)
    if revision is None:
        raise Http404(
            f"Nothing is known yet of the configuration of agent '{name}'; the control loop reads "
            "it when it has seen the agent."
        )
    return revision


def _plan(agent: Agent, asked: Asked, base: str, reason: str) -> Plan:
    """Raises ContractError (400) for a revision that is no number."""
    return Plan(
        endpoint=endpoint("update_conf"),
        selector=Selector(agents=(agent.name,)),
        parameters={} if agent.dialect == Dialect.LMCACHE else {"atomic": True},
        body=dict(asked.changes),
        wishes=Wishes(
            expected_revision=parse_int("revision", base, minimum=0, maximum=_MAX_REVISION)
        ),
        timeout_s=settings.KVPLANE_AGENT_TIMEOUT,
        reason=reason,
    )
