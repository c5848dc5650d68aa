"""`/api/v1/modes/` and `/api/v1/mode-changes/`."""

from controlplane.modes.views import DesiredModeViewSet, ModeChangeViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("modes", DesiredModeViewSet)
router.register("mode-changes", ModeChangeViewSet)

urlpatterns = router.urls
