"""The documented endpoints in a browser: what the agent answered, and for every
method of the path a form with its real parameters."""

import json
from dataclasses import dataclass

from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request

from controlplane.accounts.models import UserRole
from controlplane.accounts.permissions import access_role
from controlplane.forwarding.answers import AgentAnswer
from engine.contract import Endpoint, Kind, Parameter

_INPUTS: dict[Kind, str] = {
    Kind.INTEGER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.SWITCH: "boolean",
    Kind.STRINGS: "several",
}


@dataclass(frozen=True)
class Field:
    """One parameter as the form shows it."""

    parameter: Parameter
    input: str
    """`text`, `number`, `boolean` or `several` (one value a line)."""


@dataclass(frozen=True)
class CallForm:
    """The form of one method on a path."""

    endpoint: Endpoint
    fields: tuple[Field, ...]
    body: str
    """Example body to start from; empty where the endpoint takes none."""
    allowed: bool
    """Whether the viewer's role may send it."""
    needs_agent: bool


def browsable_data(answer: AgentAnswer) -> object:
    """What the page shows of the answer: its JSON, or its text."""
    if answer.media_type.startswith("application/json"):
        return json.loads(answer.body)
    return answer.body.decode("utf-8", "replace")


class BrowsableCallRenderer(BrowsableAPIRenderer):
    """DRF's browsable page with forms made from the catalogue instead of from
    serializers, which know nothing of query parameters."""

    template = "inference/call.html"

    def get_context(self, data, accepted_media_type, renderer_context):  # type: ignore[no-untyped-def]
        context = super().get_context(data, accepted_media_type, renderer_context)
        view = renderer_context["view"]
        request: Request = renderer_context["request"]
        scoped = bool(view.kwargs.get("agent_name"))
        context["call_forms"] = [
            CallForm(
                endpoint=endpoint,
                fields=tuple(
                    Field(parameter, _INPUTS.get(parameter.kind, "text"))
                    for parameter in endpoint.parameters
                ),
                body=json.dumps(endpoint.body_example, indent=2) if endpoint.body_example else "",
                allowed=_may(request, endpoint),
                needs_agent=not scoped,
            )
            for endpoint in view.endpoints.values()
        ]
        return context

    def show_form_for_method(self, view, method, request, obj):  # type: ignore[no-untyped-def]
        # The forms of the catalogue stand in for DRF's own.
        return False


def _may(request: Request, endpoint: Endpoint) -> bool:
    role = access_role(request)
    needed = UserRole.VIEWER if endpoint.action is None else UserRole.OPERATOR
    return role is not None and role.includes(needed)
