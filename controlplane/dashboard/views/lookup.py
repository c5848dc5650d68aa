"""Recreating what an agent looks chunks up with, after it said what would come of it."""

from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.audit import trail
from controlplane.dashboard.asking import ask
from controlplane.dashboard.forms import ReasonForm
from controlplane.dashboard.lookup_chain import links_of
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.finding import find_agent
from controlplane.fleet.models import Agent
from controlplane.middleware import request_id_of
from controlplane.operations.planning import Plan, plan_operation
from controlplane.operations.runner import shared_runner
from controlplane.operations.selecting import Selector
from engine.contract import ContractError, endpoint

_RECREATE = "recreate_lookup"


class RecreateLookupPage(DashboardView):
    """The agent's dry run, and why it is to be done."""

    reads = "lookup"
    section = "fleet"

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask."""
        if not self.may(UserRole.OPERATOR):
            return redirect("dashboard:agent", name)
        return self._ask(find_agent(name), ReasonForm())

    def post(self, request: HttpRequest, name: str) -> HttpResponse:
        """Make the operation, and go there."""
        agent = find_agent(name)
        form = ReasonForm(request.POST)
        if not form.is_valid():
            page = self._ask(agent, form, HTTPStatus.BAD_REQUEST)
            # What could have changed something, and did not, is no read on record.
            if (followed := trail.current()) is not None:
                followed.reads = ""
            return page
        plan = Plan(
            endpoint=endpoint(_RECREATE),
            selector=Selector(agents=(agent.name,)),
            timeout_s=settings.KVPLANE_AGENT_TIMEOUT,
            reason=form.cleaned_data["reason"],
        )
        planned = plan_operation(
            plan,
            key=form.cleaned_data["key"],
            actor=user_actor(request),
            request_id=request_id_of(request),
        )
        shared_runner().start(planned.operation)
        return HttpResponseRedirect(reverse("dashboard:operation", args=[planned.operation.pk]))

    def _ask(
        self, agent: Agent, form: ReasonForm, status: HTTPStatus = HTTPStatus.OK
    ) -> HttpResponse:
        context: dict[str, object] = {"agent": agent, "form": form, "endpoint": endpoint(_RECREATE)}
        try:
            said = ask(agent, _RECREATE, {"dryrun": "true"}, request_id=request_id_of(self.request))
        except ContractError as error:
            context["refused"], status = error.message, HTTPStatus(error.status)
        else:
            context |= {"old": links_of(said.get("old")), "new": links_of(said.get("new"))}
        return self.page("dashboard/recreate.html", context, status)
