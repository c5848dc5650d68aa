"""The documented endpoints in a browser: what the agent answered, and for every
method of the path a form with its real parameters."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.urls import reverse
from rest_framework.request import Request

from controlplane.accounts.models import UserRole
from controlplane.accounts.permissions import refusal
from controlplane.audit.limits import MAX_REASON
from controlplane.fleet.services import MAX_CANDIDATES, agents_with
from controlplane.fleet.suggesting import engine_names
from controlplane.forwarding.answers import AgentAnswer
from controlplane.inference.targets import AGENT_PARAMETER, ENGINE_PARAMETER
from controlplane.inference.wishes import (
    EXPECTED_PARAMETER,
    EXPIRES_AT,
    EXPIRES_IN,
    WishParameter,
    wishes_for,
)
from controlplane.rest.browsing import DENIED, PageRenderer
from controlplane.rest.calls import calls_of, title_of
from controlplane.rest.forms import CallForm, Example, Field, FieldGroup, Input, Place
from controlplane.rest.links import Link, LinkGroup, agent_links, agent_page
from controlplane.rest.reason import REASON_HEADER
from engine.contract import Component, Endpoint, Group, Kind, Parameter

_INPUTS: Mapping[Kind, Input] = {
    Kind.INTEGER: Input.NUMBER,
    Kind.BOOLEAN: Input.BOOLEAN,
    Kind.SWITCH: Input.BOOLEAN,
    Kind.STRINGS: Input.LINES,
}
_WISH_INPUTS = {
    EXPIRES_IN: Input.NUMBER,
    EXPIRES_AT: Input.MOMENT,
    EXPECTED_PARAMETER: Input.NUMBER,
}
_LABELS = {
    EXPIRES_IN: "expires in (seconds)",
    EXPIRES_AT: "expires at",
    EXPECTED_PARAMETER: "expected revision",
}
_PLACEHOLDERS = {EXPIRES_IN: "1200", EXPECTED_PARAMETER: "5"}
_HISTORIES: Mapping[Group, str] = {
    Group.CONF: "revisions",
    Group.FREEZE: "mode_changes",
    Group.HOT_CACHE: "mode_changes",
    Group.BYPASS: "mode_changes",
    Group.CHUNK_STATISTICS: "chunk_statistics",
    Group.AGENT: "watch",
}


@dataclass(frozen=True)
class Call:
    """One method of the path: its form, and what the catalogue says of its answers."""

    form: CallForm
    endpoint: Endpoint
    answer_example: str


def browsable_data(answer: AgentAnswer) -> object:
    """What the page shows of the answer: its JSON, or its text."""
    if answer.media_type.startswith("application/json"):
        return json.loads(answer.body)
    return answer.body.decode("utf-8", "replace")


class BrowsableCallRenderer(PageRenderer):
    """A page with forms made from the catalogue instead of from serializers, which know
    nothing of query parameters."""

    template = "inference/call.html"

    def get_context(  # type: ignore[no-untyped-def]
        self, data, accepted_media_type, renderer_context
    ) -> dict[str, Any]:
        """What the template needs."""
        context = super().get_context(data, accepted_media_type, renderer_context)
        view, request = renderer_context["view"], renderer_context["request"]
        agent_name = view.kwargs.get("agent_name", "")
        context["breadcrumblist"] = list(_trail(request, view.get_view_name(), agent_name))
        if renderer_context["response"].status_code in DENIED:
            return context
        context["calls"] = [
            _call(request, endpoint, agent_name) for endpoint in view.endpoints.values()
        ]
        group = next(iter(view.endpoints.values())).group
        context["link_groups"] = list(_link_groups(request, group, agent_name))
        if agent_name and context["problem"] is not None:
            context["problem_links"] = [
                Link(f"Agent {agent_name}", agent_page(agent_name)),
                Link("Probe it", f"{agent_page(agent_name)}probe/"),
            ]
        if isinstance(data, str):
            context["content"] = data
        return context

    def about_answer(self, view: Any, request: Request, description: str) -> str:
        """The forms say it."""
        return ""

    def forms_of(self, view: Any, request: Request, shown: Any) -> list[CallForm]:
        """None besides those of the catalogue."""
        return []


def _call(request: Request, endpoint: Endpoint, agent_name: str) -> Call:
    fields = [] if agent_name else _target_fields(endpoint.component)
    fields += [_parameter_field(parameter) for parameter in endpoint.parameters]
    asked = request.query_params
    groups = [
        FieldGroup(
            "",
            "",
            tuple(replace(field, value=asked.get(field.name, "")) for field in fields),
        ),
        FieldGroup("", "", tuple(_body_fields(endpoint))),
        FieldGroup("", "", tuple(_said_besides(endpoint))),
    ]
    is_free = endpoint.body_schema is not None and not any(_body_fields(endpoint))
    form = CallForm(
        key=endpoint.operation_id,
        method=endpoint.method,
        path=request.path,
        title=endpoint.summary,
        description=endpoint.description,
        groups=tuple(group for group in groups if group.fields),
        examples=tuple(_examples(endpoint)),
        takes_json=endpoint.body_schema is not None,
        free_body=json.dumps(endpoint.body_example, indent=2) if is_free else "",
        refusal=_refusal(request, endpoint),
    )
    return Call(form, endpoint, _readable(endpoint.response_example))


def _refusal(request: Request, endpoint: Endpoint) -> str:
    reads = endpoint.action is None or endpoint.reads_with or endpoint.reads_without
    return refusal(request, UserRole.VIEWER if reads else UserRole.OPERATOR)


def _target_fields(component: Component) -> list[Field]:
    agents = [agent.name for agent in agents_with(component)]
    return [
        _chosen(AGENT_PARAMETER, agents, "Which agent; may be left out if only one can be meant."),
        _chosen(ENGINE_PARAMETER, engine_names(), "Only agents of this engine come into question."),
    ]


def _chosen(name: str, names: list[str], about: str) -> Field:
    """A choice of these, or, where there may be more of them, a text to be typed."""
    if len(names) < MAX_CANDIDATES:
        return Field(name, Input.CHOICE, help=about, choices=tuple(names))
    return Field(name, help=about, suggestions=tuple(names))


def _parameter_field(parameter: Parameter) -> Field:
    kind = _INPUTS.get(parameter.kind, Input.TEXT)
    return Field(
        parameter.name,
        kind,
        help=parameter.description + (" One a line." if kind is Input.LINES else ""),
        required=parameter.required,
        placeholder=parameter.example,
        default=parameter.default or "",
        minimum=parameter.minimum,
        maximum=parameter.maximum,
    )


def _body_fields(endpoint: Endpoint) -> Iterator[Field]:
    """The keys of a body, where the catalogue names them."""
    schema: Mapping[str, Any] = endpoint.body_schema or {}
    example = endpoint.body_example or {}
    for name, described in schema.get("properties", {}).items():
        types = described["type"]
        yield Field(
            name,
            Input.NUMBER if "integer" in types else Input.TEXT,
            Place.BODY,
            help=described.get("description", ""),
            required=name in schema.get("required", ()),
            placeholder=str(example.get(name, "")),
            minimum=described.get("minimum"),
        )


def _said_besides(endpoint: Endpoint) -> Iterator[Field]:
    """What the control plane can be told about a change, and the agent is not."""
    if endpoint.action is None:
        return
    yield Field(
        REASON_HEADER,
        place=Place.HEADER,
        label="reason",
        help="Why; kept in the audit log with the change.",
        placeholder="deploy",
        max_length=MAX_REASON,
    )
    for wish in wishes_for(endpoint):
        if not wish.same_as:
            yield _wish_field(wish)


def _wish_field(wish: WishParameter) -> Field:
    return Field(
        wish.name,
        _WISH_INPUTS[wish.name],
        Place(wish.place),
        label=_LABELS[wish.name],
        help=wish.description,
        placeholder=_PLACEHOLDERS.get(wish.name, ""),
    )


def _examples(endpoint: Endpoint) -> Iterator[Example]:
    values: dict[str, object] = {
        parameter.name: parameter.example for parameter in endpoint.parameters
    }
    if endpoint.body_example is not None:
        values |= {"": endpoint.body_example, **endpoint.body_example}
    if values:
        yield Example("the documented example", values)


def _trail(request: Request, path: str, agent_name: str) -> Iterator[tuple[str, str]]:
    yield "KVPlane", reverse("index")
    if agent_name:
        yield "Agents", reverse("agent-list")
        yield agent_name, agent_page(agent_name)
    yield path, request.path


def _link_groups(request: Request, group: Group, agent_name: str) -> Iterator[LinkGroup]:
    (calls,) = (shown for shown in calls_of(agent_name) if shown.title == title_of(group))
    others = tuple(link for link in calls.links if link.url.partition("#")[0] != request.path)
    if others:
        yield LinkGroup(f"{calls.title}: other calls", others)
    if not agent_name:
        return
    history = agent_links(agent_name, None)
    kept = _HISTORIES.get(group)
    links = [Link(f"Agent {agent_name}", agent_page(agent_name))]
    if kept is not None:
        links.append(Link(f"Its {kept.replace('_', ' ')}", history[kept]))
    links.append(Link("Its operations", history["operations"]))
    links.append(Link("Its audit entries", history["audit"]))
    yield LinkGroup("What is kept", tuple(links))


def _readable(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2)
