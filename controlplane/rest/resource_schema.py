"""How the OpenAPI document describes the control plane's own resources."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest
from drf_spectacular.openapi import AutoSchema

from controlplane.rest.answers import shared_answers

_VERBS = {
    "list": "list",
    "retrieve": "get",
    "create": "create",
    "update": "replace",
    "partial_update": "update",
    "destroy": "delete",
}
_SUMMARIES = {"list": "List {}", "retrieve": "Show one {}"}
_ANSWERS = {"200": "As it is now.", "201": "It was made."}
_PLURALS = {
    "audit": "audit_entries",
    "chunk_statistics": "chunk_statistics_snapshots",
    "tier_statistics": "tier_statistics_snapshots",
}
_SINGULARS = {"audit_entries": "audit_entry", "watches": "watch"}


class ResourceSchema(AutoSchema):
    """Names operations by what they do, `list_agents`, and adds the error answers that
    follow from what an operation takes."""

    def get_operation_id(self) -> str:
        """A verb and what it is done to."""
        action = self._action()
        noun = self._plural() if action == "list" else self._singular()
        return f"{_VERBS.get(action, action)}_{noun}"

    def get_tags(self) -> list[str]:
        """The resource."""
        return [self._resource()]

    def get_summary(self) -> str:
        """The first sentence of the description, or what is listed or shown."""
        action = self._action()
        if action in _SUMMARIES:
            noun = self._plural() if action == "list" else self._singular()
            return _SUMMARIES[action].format(noun.replace("_", " "))
        first, _, _ = self.get_purpose().replace("\n", " ").partition(". ")
        return first.partition(":")[0].rstrip(".")

    def get_description(self) -> str:  # type: ignore[override]
        """What the view says, and which role it takes."""
        return f"{self.get_purpose()}\n\n{self._who()}"

    def get_purpose(self) -> str:
        """What the view says of the operation."""
        return str(super().get_description())

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation with its error answers."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            own = operation["responses"]
            for status, answer in own.items():
                answer["description"] = answer["description"] or _ANSWERS[status]
            operation["responses"] = dict(
                sorted({**shared_answers(_statuses(operation)), **own}.items())
            )
        return operation

    def _action(self) -> str:
        return str(getattr(self.view, "action", None) or self.method.lower())

    def _resource(self) -> str:
        parts = [part for part in self.path.split("/") if part]
        return parts[2].replace("-", "_") if len(parts) > 2 else "index"

    def _plural(self) -> str:
        return _PLURALS.get(self._resource(), self._resource())

    def _singular(self) -> str:
        plural = self._plural()
        return _SINGULARS.get(plural, plural.removesuffix("s"))

    def _who(self) -> str:
        rule = getattr(self.view, "required_role", None)
        if rule is None:
            return "Needs an enrolment token."
        request = HttpRequest()
        request.method = self.method
        return f"Needs the role `{rule(request).value}`."


def _statuses(operation: dict[str, Any]) -> Iterator[int]:
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    if places & {"query", "header"} or "requestBody" in operation:
        yield 400
    yield 401
    if {"enrolmentToken": []} not in operation.get("security", []):
        yield 403
    if "path" in places:
        yield 404
    if "requestBody" in operation:
        yield 415
    yield 503
