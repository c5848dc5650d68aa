from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "controlplane.inference"
    verbose_name = "Documented endpoints"
