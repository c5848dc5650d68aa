"""Chunk statistics over time, with what was done to the agents on the same axis."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

from controlplane.dashboard.charts import charts_of, numbered
from controlplane.dashboard.moments import MAX_MOMENTS, Moment, Span, began_anew, moments_of
from controlplane.dashboard.statistics_query import StatisticsForm, Subject, newest_subject
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.models import Agent
from controlplane.statistics.series import Bucket


class StatisticsPage(DashboardView):
    """How much is looked up again, and what changed it."""

    reads = "chunk-statistics"
    section = "statistics"

    def get(self, request: HttpRequest) -> HttpResponse:
        """One engine or agent, from when to when."""
        form = StatisticsForm(request.GET)
        fleet = _fleet()
        context: dict[str, object] = {"form": form, "fleet": fleet, "subject": None}
        status = HTTPStatus.OK
        if not form.is_valid():
            status = HTTPStatus.BAD_REQUEST
        elif (subject := form.subject or newest_subject()) is not None:
            context |= _shown(subject, form, fleet)
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
    since, until = form.span
    buckets = subject.series(since, until, form.bucket_s)
    span = Span(buckets[0].start, buckets[-1].end)
    moments = numbered(_moments(subject, buckets, moments_of(subject.agents(fleet), span)))
    counted = [bucket for bucket in buckets if bucket.samples]
    total = sum(bucket.total_chunks or 0 for bucket in counted)
    unique = sum(bucket.unique_chunks or 0 for bucket in counted)
    return {
        "subject": subject,
        "is_listed": subject.is_in(fleet),
        "span": span,
        "bucket_s": form.bucket_s,
        "charts": charts_of(buckets, moments) if counted else [],
        "moments": moments,
        "counted": counted,
        "gaps": len(buckets) - len(counted),
        "total_chunks": total,
        "unique_chunks": unique,
        "reuse_percent": 100 * (total - unique) / total if total else None,
    }


def _moments(
    subject: Subject, buckets: Sequence[Bucket], changes: Sequence[Moment]
) -> list[Moment]:
    """What was done, and where counts began anew; the newest MAX_MOMENTS of all."""
    begun = [moment for bucket in buckets for moment in bucket.begun]
    both = [*changes, *began_anew(begun, subject.name)]
    return sorted(both, key=lambda moment: moment.at)[-MAX_MOMENTS:]
