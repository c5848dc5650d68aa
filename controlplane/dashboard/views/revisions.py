"""Configuration revisions: all of them, how two differ, and going back to one."""

from http import HTTPStatus

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.audit.difference import difference
from controlplane.configuration.errors import RevisionNotFound
from controlplane.configuration.filters import ConfigRevisionFilter
from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.configuration.services import ALL_KEYS, find_active, find_revision
from controlplane.configuration.values import shows_secret
from controlplane.dashboard.forms import ReasonForm
from controlplane.dashboard.paging import page_of
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.finding import find_agent
from controlplane.fleet.models import Agent
from controlplane.middleware import request_id_of
from controlplane.operations.rolling_back import Preview, preview_rollback, roll_back
from controlplane.rest.pagination import StrictCursorPagination
from engine.contract import ContractError, parse_int

_MAX_NUMBER = (1 << 31) - 1
_LONG = ("values", "sealed", "requested")
_SUGGESTED = 100


class RevisionsPage(DashboardView):
    """What configurations should be and were, newest first."""

    reads = "config-revisions"
    section = "revisions"

    def get(self, request: HttpRequest) -> HttpResponse:
        """One page of the list."""
        rows = ConfigRevision.objects.order_by("-id")
        filters = ConfigRevisionFilter(request.GET, queryset=rows)
        is_valid = filters.is_valid()
        found = filters.qs.defer(*_LONG) if is_valid else rows.none()
        context: dict[str, object] = {
            "listed": page_of(StrictCursorPagination(), found, request),
            "filters": filters.form,
            "is_filtered": any(filters.form.data.get(name) for name in filters.form.fields),
        }
        if self.is_part():
            return self.part("dashboard/_revisions.html", context)
        context |= {"states": RevisionState.values, "sources": Source.values}
        status = HTTPStatus.OK if is_valid else HTTPStatus.BAD_REQUEST
        return self.page("dashboard/revisions.html", context, status)


class RevisionPage(DashboardView):
    """One revision, against its parent or any other, also one of another agent."""

    reads = "config-revisions"
    section = "revisions"

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What differs. Raises RevisionNotFound for another one that is not there."""
        revision = _find(pk)
        other = _other(revision, request)
        owner = revision.agent if other is None else other.agent
        context: dict[str, object] = {
            "revision": revision,
            "other": other,
            "there": _title(other, revision),
            "here": _title(revision, other),
            "whole_refused": revision.refused.get(ALL_KEYS, ""),
            "diff": difference({} if other is None else other.values, revision.values),
            "hides": any(
                shows_secret(value)
                for side in (revision, other)
                if side is not None
                for value in side.values.values()
            ),
            "numbers": ConfigRevision.objects.filter(agent=owner)
            .order_by("-number")
            .values_list("number", flat=True)[:_SUGGESTED],
            "agents": Agent.objects.order_by("name").values_list("name", flat=True),
            "can_restore": revision.state == RevisionState.SUPERSEDED,
        }
        return self.page("dashboard/revision.html", context)


class RestorePage(DashboardView):
    """What rolling back to a revision would do, by the agent's own schema of now."""

    reads = "config-revisions"
    section = "revisions"

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask."""
        if not self.may(UserRole.OPERATOR):
            return redirect("dashboard:revision", pk)
        return self._ask(_find(pk), ReasonForm())

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Go back, if the revision that is active is still the one of the preview."""
        revision = _find(pk)
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask(revision, form, HTTPStatus.BAD_REQUEST)
        try:
            performed = roll_back(
                find_agent(revision.agent),
                revision.number,
                expected=parse_int(
                    "active", request.POST.get("active", ""), minimum=1, maximum=_MAX_NUMBER
                ),
                actor=user_actor(request),
                reason=form.cleaned_data["reason"],
                request_id=request_id_of(request),
                timeout=settings.KVPLANE_AGENT_TIMEOUT,
            )
        except ContractError as error:
            messages.error(request, error.message)
            return redirect("dashboard:revision", pk)
        return redirect("dashboard:operation", performed.operation.pk)

    def _ask(
        self, revision: ConfigRevision, form: ReasonForm, status: HTTPStatus = HTTPStatus.OK
    ) -> HttpResponse:
        preview: Preview = preview_rollback(
            find_agent(revision.agent),
            revision.number,
            request_id=request_id_of(self.request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        context: dict[str, object] = {"revision": revision, "preview": preview, "form": form}
        return self.page("dashboard/restore.html", context, status)


def _find(pk: int) -> ConfigRevision:
    found = ConfigRevision.objects.filter(pk=pk).first()
    if found is None:
        raise Http404("There is no such revision. The list has all there are.")
    return found


def _other(revision: ConfigRevision, request: HttpRequest) -> ConfigRevision | None:
    """The revision that the address asks to compare with: a number, of the same agent or
    of another one; without a number the parent, or what is active on the other agent.
    None: nobody asks, and it has no parent."""
    agent = request.GET.get("of", "").strip() or revision.agent
    against = request.GET.get("against", "").strip()
    if against:
        number = parse_int("against", against, minimum=1, maximum=_MAX_NUMBER)
        return find_revision(agent, number)
    if agent != revision.agent:
        active = find_active(agent)
        if active is None:
            raise RevisionNotFound(agent, "active revision")
        return active
    return None if revision.parent is None else find_revision(agent, revision.parent)


def _title(revision: ConfigRevision | None, beside: ConfigRevision | None) -> str:
    """What stands over its column."""
    if revision is None:
        return ""
    if beside is None or beside.agent == revision.agent:
        return f"Revision {revision.number}"
    return f"{revision.agent}, revision {revision.number}"
