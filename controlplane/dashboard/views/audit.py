"""The audit log: entries with facets, one entry, and whether the chain holds."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_filters.constants import EMPTY_VALUES

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.audit.actors import ActorKind
from controlplane.audit.background import shared_verifier
from controlplane.audit.catalogue import ACTIONS, OUTCOMES
from controlplane.audit.filters import AuditFilter
from controlplane.audit.models import AuditEntry, Stage
from controlplane.audit.paging import AuditPagination
from controlplane.dashboard.chain import Soundness, chain_status
from controlplane.dashboard.facets import chips_of, facets_of
from controlplane.dashboard.paging import page_of
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.models import Agent, Engine
from controlplane.middleware import request_id_of

_WAIT_SECONDS = 3.0
_LONG = ("document", "previous", "mac", "key_id")


class AuditPage(DashboardView):
    """Who asked for what, when, why, and what came of it; newest first."""

    reads = "audit"
    section = "audit"

    def get(self, request: HttpRequest) -> HttpResponse:
        """One page of what the facets leave."""
        filters = AuditFilter(request.GET, queryset=AuditEntry.objects.all())
        is_valid = filters.is_valid()
        # A page of them tells what is in columns; the long text comes with one entry.
        rows = filters.qs.defer(*_LONG) if is_valid else AuditEntry.objects.none()
        asked = _asked(filters.form.cleaned_data)
        context: dict[str, object] = {
            "listed": page_of(AuditPagination(), rows, request),
            "filters": filters.form,
            "asked": asked,
            "exports": _exports(asked),
            "chips": chips_of(asked),
        }
        if is_valid:
            facets = facets_of(asked)
            context |= {"facets": facets, "similar": facets.similar(asked)}
        if self.is_part():
            return self.part("dashboard/_entries.html", context)
        context |= {
            "actions": sorted(ACTIONS),
            "outcomes": OUTCOMES,
            "kinds": ActorKind.values,
            "stages": Stage.values,
            "agents": Agent.objects.order_by("name").values_list("name", flat=True),
            "engines": Engine.objects.order_by("name").values_list("name", flat=True),
        }
        status = HTTPStatus.OK if is_valid else HTTPStatus.BAD_REQUEST
        return self.page("dashboard/audit.html", context, status)


class EntryPage(DashboardView):
    """One entry, with what it changed."""

    reads = "audit"
    section = "audit"

    def get(self, request: HttpRequest, number: int) -> HttpResponse:
        """All that it says."""
        entry = AuditEntry.objects.filter(pk=number).first()
        if entry is None:
            raise Http404(f"There is no entry {number}; older ones may be in an archive.")
        if self.is_part():
            return self.part("dashboard/_entry.html", {"entry": entry})
        return self.page("dashboard/entry.html", {"entry": entry})


class VerifyNow(DashboardView):
    """Look at the whole chain."""

    changes = UserRole.ADMIN
    section = "audit"

    def post(self, request: HttpRequest) -> HttpResponse:
        """Have it verified, on the record. A page does not wait for a long log: what is
        found is on record, and the badge shows it."""
        verifier = shared_verifier()
        is_done = verifier.start(
            actor=user_actor(request),
            request_id=request_id_of(request),
            wait_seconds=_WAIT_SECONDS,
        )
        if not is_done:
            messages.info(request, "The log is being verified; the badge shows what is found.")
        elif verifier.progress().is_broken:
            messages.error(request, "Verifying could not be finished; the server's log says why.")
        else:
            _tell(request)
        return redirect("dashboard:audit")


def _asked(cleaned: Mapping[str, object]) -> dict[str, str]:
    """What is asked for as the filter understands it, which is without blanks around it."""
    return {name: _text(value) for name, value in cleaned.items() if value not in EMPTY_VALUES}


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _tell(request: HttpRequest) -> None:
    found = chain_status()
    if found.soundness is Soundness.VALID:
        messages.success(
            request, f"The audit log is what was written: {found.entries:,} entries verified."
        )
    else:
        messages.error(request, f"The audit log is broken: {found.message}")


def _exports(asked: dict[str, str]) -> dict[str, str]:
    """Addresses of files with what is asked for, by format."""
    base = reverse("audit-export")
    return {name: f"{base}?{urlencode({**asked, 'format': name})}" for name in ("csv", "jsonl")}
