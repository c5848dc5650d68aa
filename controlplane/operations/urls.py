"""`/api/v1/operations/`."""

from controlplane.operations.views import ID_PATTERN, OperationTargetViewSet, OperationViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("operations", OperationViewSet)
router.register(
    f"operations/(?P<operation>{ID_PATTERN})/targets",
    OperationTargetViewSet,
    basename="operation-target",
)

urlpatterns = router.urls
