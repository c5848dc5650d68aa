"""`/api/v1/config-revisions/`."""

from controlplane.configuration.views import ConfigRevisionViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("config-revisions", ConfigRevisionViewSet)

urlpatterns = router.urls
