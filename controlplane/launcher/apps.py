from django.apps import AppConfig


class LauncherConfig(AppConfig):
    name = "controlplane.launcher"
    verbose_name = "Launcher"
