"""`/dashboard/`."""

from django.urls import path, re_path

from controlplane.dashboard.views.agent import AgentPage, EditPage
from controlplane.dashboard.views.agent_charts import AgentCharts
from controlplane.dashboard.views.audit import AuditPage, EntryPage, VerifyNow
from controlplane.dashboard.views.base import NoSuchPage
from controlplane.dashboard.views.chain import ChainBadge
from controlplane.dashboard.views.fleet import ConfirmPage, FleetPage, SelectPage
from controlplane.dashboard.views.fleet_settings import FleetSettingsPage
from controlplane.dashboard.views.kvcache import KVCachePage
from controlplane.dashboard.views.lookup import RecreateLookupPage
from controlplane.dashboard.views.operations import (
    CancelOperation,
    OperationPage,
    OperationsPage,
    RetryOperation,
    RollbackPage,
)
from controlplane.dashboard.views.revisions import (
    RestorePage,
    RevisionPage,
    RevisionsPage,
)
from controlplane.dashboard.views.statistics import StatisticsPage

app_name = "dashboard"
urlpatterns = [
    path("", FleetPage.as_view(), name="fleet"),
    path("fleet/select/", SelectPage.as_view(), name="select"),
    path("fleet/confirm/", ConfirmPage.as_view(), name="confirm"),
    path("fleet/settings/", FleetSettingsPage.as_view(), name="fleet_settings"),
    path("agents/<str:name>/", AgentPage.as_view(), name="agent"),
    path("agents/<str:name>/charts/", AgentCharts.as_view(), name="agent_charts"),
    path("agents/<str:name>/edit/", EditPage.as_view(), name="edit"),
    path("agents/<str:name>/kvcache/", KVCachePage.as_view(), name="kvcache"),
    path("agents/<str:name>/lookup/", RecreateLookupPage.as_view(), name="recreate"),
    path("revisions/", RevisionsPage.as_view(), name="revisions"),
    path("revisions/<int:pk>/", RevisionPage.as_view(), name="revision"),
    path("revisions/<int:pk>/restore/", RestorePage.as_view(), name="restore"),
    path("operations/", OperationsPage.as_view(), name="operations"),
    path("operations/<uuid:operation_id>/", OperationPage.as_view(), name="operation"),
    path("operations/<uuid:operation_id>/cancel", CancelOperation.as_view(), name="cancel"),
    path("operations/<uuid:operation_id>/retry", RetryOperation.as_view(), name="retry"),
    path("operations/<uuid:operation_id>/rollback/", RollbackPage.as_view(), name="rollback"),
    path("statistics/", StatisticsPage.as_view(), name="statistics"),
    path("audit/", AuditPage.as_view(), name="audit"),
    path("audit/verify", VerifyNow.as_view(), name="verify"),
    path("audit/chain", ChainBadge.as_view(), name="chain"),
    path("audit/<int:number>/", EntryPage.as_view(), name="entry"),
    re_path("", NoSuchPage.as_view(), name="nothing"),
]
