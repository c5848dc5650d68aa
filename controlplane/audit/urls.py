"""`/api/v1/audit/`."""

from controlplane.audit.views import AuditViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("audit", AuditViewSet)

urlpatterns = router.urls
