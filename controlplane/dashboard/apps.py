"""Django's name for this app."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Pages; no models."""

    name = "controlplane.dashboard"
