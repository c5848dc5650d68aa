"""Asking agents from the admin how they are."""

from collections.abc import Sequence

from django.conf import settings
from django.contrib.admin import site
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from controlplane.accounts.actors import user_actor
from controlplane.adminsite.confirming import SHOWN, Confirmation
from controlplane.adminsite.forms import ReasonForm
from controlplane.adminsite.switched import attach_modes
from controlplane.fleet.models import Agent
from controlplane.middleware import request_id_of
from controlplane.operations.probing import probe_on_record
from engine.contract import ContractError

_MOST_PROBED = 200


class Probe(Confirmation):
    """Agents are asked how they are, now."""

    name = "probe"
    label = "Probe"
    at_most = _MOST_PROBED
    form_class = ReasonForm

    def explain(self, records: Sequence[Agent]) -> str:
        """What will happen."""
        return "Each is asked now how it is, and what it says is kept. Nothing is changed."

    def context(self, request: HttpRequest, records: Sequence[Agent]) -> dict[str, object]:
        """Who is asked."""
        shown = list(records[:SHOWN])
        attach_modes(shown)
        return {"agents": shown}

    def carry_out(
        self, request: HttpRequest, records: Sequence[Agent], form: ReasonForm
    ) -> HttpResponse:
        """Ask, and show what they say."""
        said = probe_on_record(
            records,
            actor=user_actor(request),
            reason=form.cleaned_data["reason"],
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        rows = [
            {"agent": agent, "error": told.message, "status": {}}
            if isinstance(told, ContractError)
            else {"agent": agent, "error": "", "status": told}
            for agent, told in zip(records, said, strict=True)
        ]
        silent = sum(1 for row in rows if row["error"])
        context = {
            **site.each_context(request),
            "opts": Agent._meta,
            "title": "What the agents say",
            "rows": rows,
            "answered": len(rows) - silent,
            "silent": silent,
            "request_id": request_id_of(request),
        }
        return TemplateResponse(request, "admin/kvplane/probed.html", context)
