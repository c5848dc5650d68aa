from django.apps import AppConfig


class ReconcileConfig(AppConfig):
    name = "controlplane.reconcile"
    label = "reconcile"
