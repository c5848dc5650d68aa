"""The admin site: every active user may look, roles decide what else."""

from django.contrib.admin import AdminSite
from django.http import HttpRequest


class ControlPlaneAdminSite(AdminSite):
    """Lets every active user in; each ModelAdmin asks for the role it needs."""

    site_header = "KVPlane"
    site_title = "KVPlane"
    index_title = "Control plane"
    site_url = "/api/docs/"

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the user may see the admin at all."""
        return request.user.is_active
