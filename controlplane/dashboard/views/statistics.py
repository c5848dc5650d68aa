"""Statistics over time, with what was done to the agents on the same axis."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

from controlplane.dashboard.chunk_charts import chunk_charts
from controlplane.dashboard.measured import RESOURCES, Measured, measure
from controlplane.dashboard.numbers import chunk_columns, hit_rate_columns, numbers_of
from controlplane.dashboard.statistics_query import StatisticsForm, Subject, newest_subject
from controlplane.dashboard.tier_charts import hit_rate_chart, tier_names
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.models import Agent


class StatisticsPage(DashboardView):
    """How much is looked up again, what the tiers had of it, and what changed it."""

    reads = "chunk-statistics"
    reads_also = RESOURCES
    section = "statistics"

    def get(self, request: HttpRequest) -> HttpResponse:
        """One engine or agent, from when to when."""
        form = StatisticsForm(request.GET)
        fleet = _fleet()
        is_valid = form.is_valid()
        subject = form.subject
        if is_valid and subject is None:
            subject = newest_subject()
        context: dict[str, object] = {"form": form, "fleet": fleet, "subject": subject}
        if subject is not None:
            context["is_listed"] = subject.is_in(fleet)
            if is_valid:
                context |= _shown(subject, form, fleet)
        status = HTTPStatus.OK if is_valid else HTTPStatus.BAD_REQUEST
        if self.is_part():
            return self.part("dashboard/_statistics.html", context)
        return self.page("dashboard/statistics.html", context, status)


def _fleet() -> dict[str, list[str]]:
    """Names of agents by engine."""
    fleet: dict[str, list[str]] = {}
    names = Agent.objects.order_by("engine__name", "name").values_list("engine__name", "name")
    for engine, agent in names:
        fleet.setdefault(engine, []).append(agent)
    return fleet


def _shown(
    subject: Subject, form: StatisticsForm, fleet: Mapping[str, Sequence[str]]
) -> dict[str, object]:
    measured = measure(subject, subject.agents(fleet, *form.span), *form.span, form.bucket_s)
    charts, columns = [], []
    if measured.has_chunks:
        charts += chunk_charts(measured.chunks, measured.moments)
        columns += chunk_columns()
    if measured.has_tiers:
        charts.append(hit_rate_chart(measured.tiers, measured.moments))
        columns += hit_rate_columns(measured)
    return {
        "bucket_s": form.bucket_s,
        "measured": measured,
        "charts": charts,
        "numbers": numbers_of(measured, columns),
        "chunks": _chunks(measured),
        "tier_rates": _tier_rates(measured),
    }


def _chunks(measured: Measured) -> dict[str, object]:
    total = sum(bucket.total_chunks or 0 for bucket in measured.chunks)
    unique = sum(bucket.unique_chunks or 0 for bucket in measured.chunks)
    return {
        "total": total,
        "unique": unique,
        "reuse_rate": (total - unique) / total if total else None,
    }


def _tier_rates(measured: Measured) -> list[tuple[str, float | None]]:
    """Of all that each tier was asked for; None: nothing."""
    rates: list[tuple[str, float | None]] = []
    for name in tier_names(measured.tiers):
        told = [bucket.tiers or {} for bucket in measured.tiers]
        uses = [tiers[name] for tiers in told if name in tiers]
        looked_up = sum(use.looked_up_tokens for use in uses)
        hit = sum(use.hit_tokens for use in uses)
        rates.append((name, hit / looked_up if looked_up else None))
    return rates
