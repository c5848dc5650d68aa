"""`/api/v1/audit/`."""

from django.urls import path

from controlplane.audit.views import AuditViewSet, ExportView, VerificationView
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("audit", AuditViewSet)

urlpatterns = [
    path("audit/export", ExportView.as_view(), name="audit-export"),
    path("audit/verification", VerificationView.as_view(), name="audit-verification"),
    *router.urls,
]
