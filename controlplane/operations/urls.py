"""`/api/v1/operations/`."""

from controlplane.operations.views import OperationViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("operations", OperationViewSet)

urlpatterns = router.urls
