"""An agent's KV cache: how it is laid out, and checksums of its slots."""

from http import HTTPStatus

from django.http import Http404, HttpRequest, HttpResponse

from controlplane.dashboard.kvcache import read_checksums, read_layout
from controlplane.dashboard.views.base import DashboardView
from controlplane.fleet.finding import find_agent
from controlplane.middleware import request_id_of
from engine.contract import ContractError, Role

_ASKED = ("slot_mapping", "chunk_size", "layerwise")


class KVCachePage(DashboardView):
    """Asks the agent each time that it is opened; nothing of it is kept."""

    reads = "cache"
    section = "fleet"

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """The layout, and the checksums of what the form asks for."""
        agent = find_agent(name)
        if agent.role != Role.WORKER.value:
            raise Http404(f"Agent '{name}' is a scheduler, which has no KV cache; choose a worker.")
        request_id, status = request_id_of(request), HTTPStatus.OK
        given = {key: request.GET[key].strip() for key in _ASKED if key in request.GET}
        context: dict[str, object] = {"agent": agent, "given": given}
        if given:
            try:
                context["checksums"] = read_checksums(agent, given, request_id=request_id)
            except ContractError as error:
                context["refused"], status = error.message, HTTPStatus(error.status)
        try:
            context["layout"] = read_layout(agent, request_id=request_id)
        except ContractError as error:
            context["layout_refused"], status = error.message, HTTPStatus(error.status)
        return self.page("dashboard/kvcache.html", context, status)
