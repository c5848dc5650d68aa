"""Where everything is."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

from controlplane.home import IndexView, to_index

urlpatterns: list[URLPattern | URLResolver] = [
    path("", to_index),
    path("admin/", admin.site.urls),
    path("api/auth/", include("rest_framework.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/redoc/", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    path("api/v1/", IndexView.as_view(), name="index"),
    path("api/v1", IndexView.as_view(schema=None)),
    path("api/v1/", include("controlplane.accounts.urls")),
    path("api/v1/", include("controlplane.audit.urls")),
    path("api/v1/", include("controlplane.fleet.urls")),
    path("api/v1/", include("controlplane.operations.urls")),
    path("", include("controlplane.inference.urls")),
]

handler400 = "controlplane.errors.bad_request"
handler403 = "controlplane.errors.permission_denied"
handler404 = "controlplane.errors.not_found"
handler500 = "controlplane.errors.server_error"
