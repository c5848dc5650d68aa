"""The charts of an agent: a part of its page, which is loaded after it, and a page of its own."""

from datetime import timedelta
from http import HTTPStatus

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from controlplane.dashboard.chunk_charts import chunk_charts
from controlplane.dashboard.measured import RESOURCES, Measured, measure
from controlplane.dashboard.numbers import (
    chunk_columns,
    hit_rate_columns,
    level_columns,
    numbers_of,
    token_columns,
)
from controlplane.dashboard.statistics_query import RECENT_SPANS, Subject, fitting_s
from controlplane.dashboard.tier_charts import hit_rate_chart, tokens_chart, used_bytes_chart
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.models import Agent

_DEFAULT_S = 6 * 3_600


class _LastForm(forms.Form):
    """`?last=21600`; seconds."""

    last = forms.TypedChoiceField(choices=RECENT_SPANS, coerce=int, required=False)


class AgentCharts(DashboardView):
    """How an agent did in the last hours."""

    reads = "tier-statistics"
    reads_also = RESOURCES
    section = "fleet"

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Its tiers, its tokens, and its chunks if it counts any. Raises Http404."""
        agent = Agent.objects.filter(name=name).select_related("engine").first()
        if agent is None:
            raise Http404(f"There is no agent '{name[:128]}'.")
        form = _LastForm(request.GET)
        status = HTTPStatus.OK if form.is_valid() else HTTPStatus.BAD_REQUEST
        last_s = int(form.cleaned_data.get("last") or _DEFAULT_S)
        until = timezone.now()
        since = until - timedelta(seconds=last_s)
        bucket_s = fitting_s(last_s)
        measured = measure(Subject("agent", name), [name], since, until, bucket_s)
        context: dict[str, object] = {
            "agent": agent,
            "form": form,
            "spans": RECENT_SPANS,
            "last_s": last_s,
            "bucket_s": bucket_s,
            "measured": measured,
            **_drawn(measured),
        }
        if self.is_part():
            return self.part("dashboard/_agent_charts.html", context)
        return self.page("dashboard/agent_charts.html", context, status)


def _drawn(measured: Measured) -> dict[str, object]:
    charts, columns = [], []
    if measured.has_tiers:
        over = measured.tiers, measured.moments
        charts += [hit_rate_chart(*over), used_bytes_chart(*over), tokens_chart(*over)]
        columns += [*hit_rate_columns(measured), *level_columns(measured), *token_columns()]
    if measured.has_chunks:
        charts += chunk_charts(measured.chunks, measured.moments)
        columns += chunk_columns()
    return {"charts": charts, "numbers": numbers_of(measured, columns)}
