"""Operations that make sense, for the form that makes one."""

from collections.abc import Iterator

from controlplane.fleet.models import Engine
from controlplane.operations.serializers import ACTIONS
from controlplane.rest.forms import Example
from engine.contract import Endpoint

_NO_ENGINE = "smollm2"


def operation_examples() -> Iterator[Example]:
    """One for each action, with the parameters and the body that its call takes, on the
    first engine of the fleet."""
    engine = Engine.objects.order_by("name").values_list("name", flat=True).first() or _NO_ENGINE
    for action, endpoint in sorted(ACTIONS.items()):
        yield Example(f"{action}: {endpoint.summary}", _body(action, endpoint, engine))


def _body(action: str, endpoint: Endpoint, engine: str) -> dict[str, object]:
    body: dict[str, object] = {
        "action": action,
        "selector": {"engines": [engine]},
        "strategy": {"canary": 1, "on_failure": "stop"},
        "reason": "say why",
    }
    # Left to their defaults a change is made, not tried.
    parameters = {
        parameter.name: parameter.example
        for parameter in endpoint.parameters
        if parameter.default is None
    }
    if parameters:
        body["parameters"] = parameters
    if endpoint.body_example is not None:
        body["body"] = dict(endpoint.body_example)
    return body
