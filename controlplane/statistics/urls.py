"""`/api/v1/chunk-statistics/` and, below it, `series`, `export` and `sample`;
`/api/v1/tier-statistics/` with `series` and `export`."""

from django.urls import re_path

from controlplane.rest.routers import LenientRouter
from controlplane.statistics.tier_views import (
    TierExportView,
    TierSeriesView,
    TierStatisticsViewSet,
)
from controlplane.statistics.views import (
    ChunkStatisticsViewSet,
    ExportView,
    SampleView,
    SeriesView,
)

router = LenientRouter()
router.register("chunk-statistics", ChunkStatisticsViewSet)
router.register("tier-statistics", TierStatisticsViewSet)

urlpatterns = [
    re_path(r"^chunk-statistics/series/?$", SeriesView.as_view(), name="chunk-statistics-series"),
    re_path(r"^chunk-statistics/export/?$", ExportView.as_view(), name="chunk-statistics-export"),
    re_path(r"^chunk-statistics/sample/?$", SampleView.as_view(), name="chunk-statistics-sample"),
    re_path(r"^tier-statistics/series/?$", TierSeriesView.as_view(), name="tier-statistics-series"),
    re_path(r"^tier-statistics/export/?$", TierExportView.as_view(), name="tier-statistics-export"),
    *router.urls,
]
