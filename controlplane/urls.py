"""Where everything is."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

from controlplane.content_policy import as_document
from controlplane.home import IndexView, ToStart
from controlplane.inference.urls import urlpatterns as forwarded_patterns

_api: list[URLPattern | URLResolver] = [
    path("auth/", include("rest_framework.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", as_document(SpectacularSwaggerSplitView.as_view()), name="docs"),
    path("redoc/", as_document(SpectacularRedocView.as_view()), name="redoc"),
    path("v1/", IndexView.as_view(), name="index"),
    path("v1", IndexView.as_view(schema=None)),
    path("v1/", include("controlplane.accounts.urls")),
    path("v1/", include("controlplane.audit.urls")),
    path("v1/", include("controlplane.configuration.urls")),
    path("v1/", include("controlplane.fleet.urls")),
    path("v1/", include("controlplane.modes.urls")),
    path("v1/", include("controlplane.operations.urls")),
    path("v1/", include("controlplane.reconcile.urls")),
    path("v1/", include("controlplane.statistics.urls")),
]

# Few, because they are tried in turn before what is forwarded.
urlpatterns: list[URLPattern | URLResolver] = [
    path("", ToStart.as_view()),
    path("admin/", admin.site.urls),
    path("api/", include(_api)),
    path("dashboard", RedirectView.as_view(pattern_name="dashboard:fleet", query_string=True)),
    path("dashboard/", include("controlplane.dashboard.urls")),
    *forwarded_patterns,
]

handler400 = "controlplane.errors.bad_request"
handler403 = "controlplane.errors.permission_denied"
handler404 = "controlplane.errors.not_found"
handler500 = "controlplane.errors.server_error"
