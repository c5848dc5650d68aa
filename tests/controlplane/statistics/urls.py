"""The chunk statistics alone, at the place that they have in the API."""

from django.urls import include, path

urlpatterns = [path("api/v1/", include("controlplane.statistics.urls"))]
