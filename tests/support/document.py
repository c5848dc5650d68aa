"""The committed OpenAPI documents."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.support.processes import ROOT

_METHODS = ("get", "post", "put", "patch", "delete")
_PARAMETER = re.compile(r"\\\{[^}]*\\\}")


@dataclass(frozen=True)
class Operation:
    """One method on one path of a document."""

    id: str
    method: str
    path: str
    described: dict[str, Any]

    def is_of(self, method: str, path: str) -> bool:
        """Whether a request with that method for that path is this operation."""
        pattern = _PARAMETER.sub("[^/]+", re.escape(self.path))
        return method == self.method and re.fullmatch(pattern, path) is not None


@cache
def controlplane_document() -> dict[str, Any]:
    """That of the control plane. It is shared: do not change it."""
    text = (ROOT / "docs" / "openapi" / "controlplane.yaml").read_text("utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def agent_document() -> dict[str, Any]:
    """That of an agent. It is shared: do not change it."""
    return json.loads((ROOT / "docs" / "openapi" / "agent.json").read_text("utf-8"))


def operations_of(document: dict[str, Any]) -> Iterator[Operation]:
    """Every operation of the document."""
    for path, described in document["paths"].items():
        for method in _METHODS:
            if method in described:
                operation = described[method]
                yield Operation(operation["operationId"], method.upper(), path, operation)


def operation_of(method: str, path: str) -> Operation:
    """The control plane's operation that a request is. Raises LookupError. A path that
    is written out comes before one with parameters."""
    fitting = [
        operation
        for operation in operations_of(controlplane_document())
        if operation.is_of(method, path)
    ]
    if not fitting:
        raise LookupError(f"the document has no {method} {path}")
    return min(fitting, key=lambda operation: operation.path.count("{"))
