from django.apps import AppConfig


class AdminSiteConfig(AppConfig):
    name = "controlplane.adminsite"
    verbose_name = "Admin pages"
