"""`/api/v1/audit/`."""

from django.urls import re_path

from controlplane.audit.views import AuditViewSet, ExportView, VerificationView
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("audit", AuditViewSet)

urlpatterns = [
    re_path(r"^audit/export/?$", ExportView.as_view(), name="audit-export"),
    re_path(r"^audit/verification/?$", VerificationView.as_view(), name="audit-verification"),
    *router.urls,
]
