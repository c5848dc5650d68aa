"""How often one address may try to enrol agents."""

from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from controlplane.accounts.actors import source_address


class EnrolThrottle(ScopedRateThrottle):
    """Counts by the address that the audit log names, past trusted proxies."""

    def get_ident(self, request: Request) -> str:
        """The caller's address."""
        return source_address(request)

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether the call may go on."""
        return bool(super().allow_request(request, view))
