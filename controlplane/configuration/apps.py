from django.apps import AppConfig


class ConfigurationConfig(AppConfig):
    name = "controlplane.configuration"
    label = "configuration"
