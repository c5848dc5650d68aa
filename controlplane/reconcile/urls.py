"""`/api/v1/watches/` and `/api/v1/controllers/`."""

from controlplane.reconcile.views import ControllerViewSet, WatchViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("watches", WatchViewSet)
router.register("controllers", ControllerViewSet)

urlpatterns = router.urls
