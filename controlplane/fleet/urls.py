"""`/api/v1/engines/`, `/api/v1/agents/`, `/api/v1/enrolment-tokens/` and
`/api/v1/enrol`."""

from django.urls import re_path

from controlplane.fleet.views import (
    AgentViewSet,
    EngineViewSet,
    EnrolmentTokenViewSet,
    EnrolView,
)
from controlplane.rest.routers import LenientRouter

router = LenientRouter()
router.register("engines", EngineViewSet)
router.register("agents", AgentViewSet)
router.register("enrolment-tokens", EnrolmentTokenViewSet)

urlpatterns = [
    re_path(r"^enrol/?$", EnrolView.as_view(), name="enrol"),
    *router.urls,
]
