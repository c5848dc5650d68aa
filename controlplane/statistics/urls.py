"""`/api/v1/chunk-statistics/` and, below it, `series`, `export` and `sample`."""

from django.urls import re_path

from controlplane.rest.routers import LenientRouter
from controlplane.statistics.views import (
    ChunkStatisticsViewSet,
    ExportView,
    SampleView,
    SeriesView,
)

router = LenientRouter()
router.register("chunk-statistics", ChunkStatisticsViewSet)

urlpatterns = [
    re_path(r"^chunk-statistics/series/?$", SeriesView.as_view(), name="chunk-statistics-series"),
    re_path(r"^chunk-statistics/export/?$", ExportView.as_view(), name="chunk-statistics-export"),
    re_path(r"^chunk-statistics/sample/?$", SampleView.as_view(), name="chunk-statistics-sample"),
    *router.urls,
]
