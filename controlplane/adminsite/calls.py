"""Every documented endpoint of one agent as a form."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from typing import Any

from django.conf import settings
from django.contrib.admin import site
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from controlplane import forwarding
from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.adminsite.call_forms import FORMS, CallForm
from controlplane.adminsite.outcomes import tell
from controlplane.audit import trail
from controlplane.fleet.models import Agent
from controlplane.forwarding import AgentAnswer
from controlplane.middleware import request_id_of
from controlplane.operations.following import follow_call
from controlplane.operations.models import Operation
from controlplane.operations.once import SentBefore
from controlplane.operations.services import perform
from controlplane.rest.admin import has_role
from engine.contract import CATALOGUE, ContractError, Endpoint

_SENT = "sent"
"""The parameter by which a form that reads says that it was sent."""
_MOST_SHOWN = 200_000


@dataclass(frozen=True)
class Call:
    """One endpoint on the page: its form, whether this user may send it, and where to."""

    endpoint: Endpoint
    form: CallForm
    allowed: bool
    url: str

    @property
    def sends(self) -> str:
        """The method of the HTML form: reading twice does no harm."""
        return "get" if self.endpoint.action is None else "post"


@dataclass(frozen=True)
class Shown:
    """What came back, under a heading. `media_type` is that of `text`."""

    heading: str
    status: int
    text: str
    media_type: str
    operation: Operation | None = None
    duration_ms: float | None = None


def calls_page(request: HttpRequest, agent: Agent) -> HttpResponse:
    """All endpoints, by group."""
    calls = [_call(request, agent, entry, FORMS[entry.operation_id]()) for entry in CATALOGUE]
    context = {**_context(request, agent, f"Calls: {agent}"), "groups": list(_grouped(calls))}
    return TemplateResponse(request, "admin/kvplane/calls.html", context)


def call_page(request: HttpRequest, agent: Agent, operation_id: str) -> HttpResponse:
    """One endpoint: its form and, once that is sent, the agent's answer with its status.
    Raises Http404 and PermissionDenied."""
    if operation_id not in FORMS:
        raise Http404
    made = FORMS[operation_id]
    sent = _sent(request, made.endpoint)
    form = made() if sent is None else made(sent)
    shown, status = None, HTTPStatus.OK.value
    if sent is not None and form.is_valid():
        try:
            shown = _send(request, agent, form)
        except SentBefore as before:
            return tell(request, before.operation)
        form, status = form.anew(), shown.status
    elif sent is not None:
        status = HTTPStatus.BAD_REQUEST.value
    context = {
        **_context(request, agent, f"{made.endpoint.summary}: {agent}"),
        "call": _call(request, agent, made.endpoint, form),
        "shown": shown,
    }
    return TemplateResponse(request, "admin/kvplane/call.html", context, status=status)


def _sent(request: HttpRequest, endpoint: Endpoint) -> Any:
    """The data of the form; None: it was not sent yet. A change is never made by a
    link."""
    if endpoint.action is not None:
        return request.POST if request.method == "POST" else None
    return request.GET if _SENT in request.GET else None


def _send(request: HttpRequest, agent: Agent, form: CallForm) -> Shown:
    """Make the call as the API does. Raises PermissionDenied and SentBefore."""
    endpoint, values = form.endpoint, form.values()
    if not has_role(request, UserRole.OPERATOR if form.changes() else UserRole.VIEWER):
        raise PermissionDenied
    follow_call(agent, endpoint, values)
    try:
        if not form.changes():
            return _read(request, agent, form)
        performed = perform(
            endpoint,
            [agent],
            query=form.query(),
            body=form.body(),
            actor=user_actor(request),
            reason=form.why(),
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
            wishes=form.wishes(),
            once=form.once(agent.name),
        )
    except SentBefore:
        raise
    except ContractError as error:
        return _refused(error, None)
    try:
        return _shown(agent, performed.answer(), performed.operation)
    except ContractError as error:
        return _refused(error, performed.operation)


def _read(request: HttpRequest, agent: Agent, form: CallForm) -> Shown:
    answer = forwarding.send(
        agent,
        form.endpoint,
        query=form.query(),
        body=form.body(),
        request_id=request_id_of(request),
        timeout=settings.KVPLANE_AGENT_TIMEOUT,
    )
    followed = trail.current()
    if followed is not None:
        followed.told.append(answer.document)
    return _shown(agent, answer, None)


def _shown(agent: Agent, answer: AgentAnswer, operation: Operation | None) -> Shown:
    text = (
        json.dumps(answer.document, indent=2, ensure_ascii=False)
        if answer.media_type.startswith("application/json")
        else str(answer.document)
    )
    if len(text) > _MOST_SHOWN:
        text = f"{text[:_MOST_SHOWN]}\n… {len(text) - _MOST_SHOWN} more characters"
    heading = f"{agent} answered {answer.status}"
    return Shown(heading, answer.status, text, answer.media_type, operation, answer.duration_ms)


def _refused(error: ContractError, operation: Operation | None) -> Shown:
    text = json.dumps(error.body(), indent=2, ensure_ascii=False)
    heading = f"{error.status} {error.error}"
    return Shown(heading, error.status, text, "application/json", operation)


def _call(request: HttpRequest, agent: Agent, endpoint: Endpoint, form: CallForm) -> Call:
    may_read = endpoint.action is None or endpoint.reads_without or endpoint.reads_with
    return Call(
        endpoint,
        form,
        has_role(request, UserRole.VIEWER if may_read else UserRole.OPERATOR),
        reverse("admin:fleet_agent_call", args=[agent.pk, endpoint.operation_id]),
    )


def _grouped(calls: list[Call]) -> Iterator[tuple[str, list[Call]]]:
    by_group = sorted(calls, key=lambda call: str(call.endpoint.group))
    for group, members in groupby(by_group, key=lambda call: str(call.endpoint.group)):
        yield group, list(members)


def _context(request: HttpRequest, agent: Agent, title: str) -> dict[str, Any]:
    return {
        **site.each_context(request),
        "opts": Agent._meta,
        "title": title,
        "agent": agent,
        "calls_url": reverse("admin:fleet_agent_calls", args=[agent.pk]),
        "sent_name": _SENT,
    }
