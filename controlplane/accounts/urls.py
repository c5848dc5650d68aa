"""`/api/v1/users/` and `/api/v1/tokens/`."""

from controlplane.accounts.views import TokenViewSet, UserViewSet
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("users", UserViewSet)
router.register("tokens", TokenViewSet)

urlpatterns = router.urls
