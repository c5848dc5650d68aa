"""The forms of one of the control plane's own resources, from its serializers and from what
its OpenAPI description says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.urls import reverse
from rest_framework.exceptions import APIException
from rest_framework.request import Request, override_method

from controlplane.rest.described import Description
from controlplane.rest.form_fields import parameter_fields, serializer_groups
from controlplane.rest.forms import CallForm, Field, FieldGroup

_WITH_BODY = ("POST", "PUT", "PATCH")
_METHODS = ("GET", *_WITH_BODY, "DELETE")


def resource_forms(view: Any, request: Request, shown: Any) -> list[CallForm]:
    """A form for each method with which something can be said; `shown` is the serializer
    of what the page shows, None where it shows no object."""
    forms = []
    for method in _METHODS:
        if method in view.allowed_methods:
            form = _form_of(view, request, method, shown)
            if form.groups or method != "GET":
                forms.append(form)
    return forms


def _form_of(view: Any, request: Request, method: str, shown: Any) -> CallForm:
    with override_method(view, request, method):
        described = Description(view, method)
        body = described.body() if method in _WITH_BODY else None
        text = described.text()
        examples = [] if body is None else described.examples(body)
        fields = parameter_fields(described.parameters()) + _told(view, "form_fields", method)
        examples += _told(view, "form_examples", method)
        made_at = _made_at(view, method)
    groups = []
    if body is not None:
        groups += serializer_groups(body(), _values_of(body, method, shown))
    if fields:
        groups.append(FieldGroup("", "", tuple(_filled(fields, request, method))))
    title, _, rest = text.partition(". ")
    return CallForm(
        key=method.lower(),
        method=method,
        path=request.path,
        title=title.removesuffix("."),
        description=rest,
        groups=tuple(groups),
        examples=tuple(examples),
        takes_json=body is not None,
        refusal=_refusal_of(view, request, method),
        made_at=made_at,
    )


def _values_of(body: Any, method: str, shown: Any) -> Mapping[str, Any]:
    """What a change begins with: the object that the page shows."""
    instance = getattr(shown, "instance", None)
    if method == "POST" or instance is None:
        return {}
    values: Mapping[str, Any] = body(instance=instance).data
    return values


def _told(view: Any, hook: str, method: str) -> list[Any]:
    tell = getattr(view, hook, None)
    return [] if tell is None else list(tell(method))


def _filled(fields: Sequence[Field], request: Request, method: str) -> list[Field]:
    """The fields; those of a read with what the page was asked for."""
    if method != "GET":
        return list(fields)
    asked = request.query_params
    return [replace(field, value=asked.get(field.name, "")) for field in fields]


def _refusal_of(view: Any, request: Request, method: str) -> str:
    """Why the viewer may not use that method; empty if they may."""
    with override_method(view, request, method) as asked:
        try:
            view.check_permissions(asked)
        except APIException as refused:
            return str(refused.detail)
    return ""


def _made_at(view: Any, method: str) -> str:
    if method != "POST" or getattr(view, "action", "") != "create":
        return ""
    return f"{reverse(f'{view.basename}-list').rstrip('/')}/{{}}/"
