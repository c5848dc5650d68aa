from django.apps import AppConfig


class StatisticsConfig(AppConfig):
    name = "controlplane.statistics"
    label = "statistics"
