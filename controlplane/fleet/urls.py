"""`/api/v1/engines/`, `/api/v1/agents/`, `/api/v1/enrolment-tokens/`, `/api/v1/enrol`
and `/api/v1/enrol/leave`."""

from django.urls import re_path

from controlplane.fleet.views import (
    AgentViewSet,
    DepartureView,
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
    re_path(r"^enrol/leave/?$", DepartureView.as_view(), name="enrol-leave"),
    *router.urls,
]
