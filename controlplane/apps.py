"""Django's configuration of the admin site."""

from django.contrib.admin.apps import AdminConfig


class ControlPlaneAdminConfig(AdminConfig):
    """The admin with access by role instead of by staff flag."""

    default_site = "controlplane.site.ControlPlaneAdminSite"
