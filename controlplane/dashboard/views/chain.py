"""The badge that tells whether the audit log is what was written."""

from django.http import HttpRequest, HttpResponse

from controlplane.dashboard.chain import chain_status
from controlplane.dashboard.views.base import DashboardView


class ChainBadge(DashboardView):
    """The badge alone, for a page that learns of another verification."""

    reads = "audit"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The badge."""
        return self.part("dashboard/_chain.html", {"chain": chain_status()})
