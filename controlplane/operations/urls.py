"""`/api/v1/operations/`."""

from controlplane.operations.views import OPERATION_ID, OperationTargetViewSet, OperationViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("operations", OperationViewSet)
router.register(
    f"operations/(?P<operation>{OPERATION_ID})/targets",
    OperationTargetViewSet,
    basename="operation-target",
)

urlpatterns = router.urls
