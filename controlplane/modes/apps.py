from django.apps import AppConfig


class ModesConfig(AppConfig):
    name = "controlplane.modes"
    label = "modes"
