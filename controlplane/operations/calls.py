"""A call that changes something, read and checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from controlplane.audit.limits import MAX_REASON
from controlplane.audit.redaction import REDACTED, hide_named, redact, redact_named
from engine.contract import ContractError, Endpoint, Values, parse_query, read_parameters


@dataclass(frozen=True)
class Call:
    """What is sent to every target: the raw query string and the JSON body."""

    endpoint: Endpoint
    query: str
    body: bytes | None
    parameters: Mapping[str, Sequence[str]]
    """As given."""
    values: Values
    """As read."""
    document: object
    """What the body holds."""
    secrets: frozenset[str] = frozenset()
    """Names that the agents' schemas mark secret, whatever they sound like."""

    @property
    def action(self) -> str:
        """`entity.verb`."""
        return self.endpoint.action or ""

    def shown_parameters(self) -> dict[str, object]:
        """The parameters without secrets."""
        return {
            name: [REDACTED] if name in self.secrets else redact_named(name, list(given))
            for name, given in self.parameters.items()
        }

    def hidden(self) -> dict[str, object]:
        """What has to be sealed, so that the call can be made again; empty if it has no
        secrets."""
        shown = {name: list(given) for name, given in self.parameters.items()}
        if self.shown_document() == self.document and self.shown_parameters() == shown:
            return {}
        return {"query": self.query, "body": self.document}

    def shown_query(self) -> str:
        """The query string without secrets."""
        return urlencode(self.shown_parameters(), doseq=True, safe="*,:/[]")

    def shown_document(self) -> object:
        """The body without secrets."""
        return redact(hide_named(self.document, self.secrets))


def read_call(endpoint: Endpoint, query: str, body: bytes | None) -> Call:
    """The call, read by the catalogue. Raises ContractError (400) for a query that
    the endpoint cannot read, and ValueError for an endpoint that only reads."""
    if endpoint.action is None:
        raise ValueError(f"{endpoint.operation_id} changes nothing")
    parameters = parse_query(query.encode())
    values = read_parameters(endpoint, parameters)
    return Call(endpoint, query, body, parameters, values, _document(body))


def check_reason(reason: str) -> None:
    """Raises ContractError (400) for a reason that is too long."""
    if len(reason) > MAX_REASON:
        raise ContractError(
            400,
            "Invalid reason",
            f"The reason has {len(reason)} characters; at most {MAX_REASON} are kept.",
        )


def _document(body: bytes | None) -> object:
    if body is None:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return {"left_out": f"{len(body)} bytes that are not JSON"}
