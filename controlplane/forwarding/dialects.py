"""Reading what agents answer, each in its dialect, as the contract has it.

`kvplane` speaks the contract already. `lmcache` is LMCache's own server, read
by its recorded habits: JSON declared as text/plain, version strings in quotes,
200 for a configuration update that failed in part, unknown names dropped in
silence, secrets of its configuration in the clear, 500 where vLLM is missing,
FastAPI's bodies for its errors.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses
from typing import NamedTuple

from controlplane.audit.redaction import redact
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding.answers import (
    AgentAnswer,
    BadAgentAnswer,
    NotCallable,
    StateAfter,
    state_after,
)
from controlplane.forwarding.transport import RawAnswer
from engine.contract import Endpoint, Origin, parse_query, read_parameters

_JSON = "application/json"
_MAX_DEPTH = 128


class _Asked(NamedTuple):
    """The call that was made."""

    endpoint: Endpoint
    query: str
    agent: Agent


@dataclass(frozen=True)
class _Read:
    status: int
    document: object


def check_supported(dialect: Dialect, endpoint: Endpoint, query: str, agent: str) -> None:
    """Raises NotCallable (501) if agents of this dialect cannot do the call."""
    if dialect is not Dialect.LMCACHE:
        return
    if endpoint.origin is Origin.KVPLANE:
        raise _not_supported(f"{endpoint.method} {endpoint.path}", agent)
    values = read_parameters(endpoint, parse_query(query.encode()))
    for parameter in endpoint.parameters:
        if parameter.origin is Origin.KVPLANE and values.get(parameter.name):
            raise _not_supported(f"'{parameter.name}' of {endpoint.path}", agent)


def _not_supported(what: str, agent: str) -> NotCallable:
    return NotCallable(
        501,
        "Not supported by this agent",
        f"{what} is an addition of KVPlane; agent '{agent}' is an LMCache process, which "
        "does not have it.",
        agent,
    )


def read_answer(
    dialect: Dialect,
    endpoint: Endpoint,
    query: str,
    agent: Agent,
    raw: RawAnswer,
    duration_ms: float,
) -> AgentAnswer:
    """The answer as the contract has it. Raises BadAgentAnswer."""
    name = agent.name
    state = state_after(endpoint, query)
    if raw.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise BadAgentAnswer(name, "it does not accept the registered token", StateAfter.UNCHANGED)
    if not (raw.status == HTTPStatus.OK or 400 <= raw.status <= 599):
        raise BadAgentAnswer(name, f"it answered with status {raw.status}", state)
    if dialect is Dialect.LMCACHE:
        return _read_lmcache(_Asked(endpoint, query, agent), raw, duration_ms, state)
    media_type = endpoint.media_type if raw.status == HTTPStatus.OK else _JSON
    if raw.media_type != media_type:
        raise BadAgentAnswer(
            name, f"its media type is '{raw.media_type[:80]}', not '{media_type}'", state
        )
    document = _decode(raw, media_type, name, state)
    return AgentAnswer(raw.status, media_type, raw.body, duration_ms, document, raw.date)


def _decode(raw: RawAnswer, media_type: str, agent: str, state: StateAfter) -> object:
    try:
        text = raw.body.decode("utf-8")
        document = json.loads(text, parse_constant=_refuse) if media_type == _JSON else text
    except (ValueError, RecursionError):
        raise BadAgentAnswer(agent, f"its body is not {media_type}", state) from None
    if _is_deeper(document, _MAX_DEPTH):
        # Whoever keeps or shows it would come to the end of the stack.
        raise BadAgentAnswer(agent, f"its body is nested deeper than {_MAX_DEPTH} levels", state)
    return document


def _is_deeper(document: object, most: int) -> bool:
    """Whether lists and objects stand in each other more than `most` deep."""
    level = [document]
    for _ in range(most):
        containers = [node for node in level if isinstance(node, dict | list)]
        if not containers:
            return False
        level = [
            part
            for node in containers
            for part in (node.values() if isinstance(node, dict) else node)
        ]
    return any(isinstance(node, dict | list) for node in level)


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _read_lmcache(
    asked: _Asked, raw: RawAnswer, duration_ms: float, state: StateAfter
) -> AgentAnswer:
    endpoint, agent = asked.endpoint, asked.agent.name
    if endpoint.media_type == "text/plain" and raw.status == HTTPStatus.OK:
        text = _decode(raw, "text/plain", agent, state)
        bare = str(text).strip().strip('"')
        return AgentAnswer(raw.status, "text/plain", bare.encode(), duration_ms, bare, raw.date)
    read = _Read(raw.status, _decode(raw, _JSON, agent, state))
    adapt = _ADAPTERS.get((endpoint.method, endpoint.path))
    if adapt is not None:
        read = adapt(asked, read)
    if endpoint.path == "/conf":
        read = _Read(read.status, redact(read.document))
    if read.status >= 400 and not _is_contract_error(read.document):
        read = _Read(*_as_contract_error(read))
    body = json.dumps(read.document).encode()
    return AgentAnswer(read.status, _JSON, body, duration_ms, read.document, raw.date)


def _is_contract_error(document: object) -> bool:
    return isinstance(document, dict) and ("error" in document or "errors" in document)


def _as_contract_error(read: _Read) -> tuple[int, object]:
    detail = read.document.get("detail") if isinstance(read.document, dict) else read.document
    message = detail if isinstance(detail, str) else json.dumps(detail)
    status = 400 if read.status == HTTPStatus.UNPROCESSABLE_ENTITY else read.status
    # Not every status has a name.
    name = responses.get(status, f"Status {status}").capitalize()
    return status, {"error": name, "message": message}


def _partial_update(asked: _Asked, read: _Read) -> _Read:
    document = read.document
    failed = isinstance(document, dict) and bool(document.get("errors"))
    return _Read(400, document) if read.status == HTTPStatus.OK and failed else read


def _unknown_names(asked: _Asked, read: _Read) -> _Read:
    names = read_parameters(asked.endpoint, parse_query(asked.query.encode())).get("names")
    if read.status != HTTPStatus.OK or not isinstance(read.document, dict):
        return read
    if not isinstance(names, list):
        return read
    missing = [name for name in names if name not in read.document]
    if not missing:
        return _Read(200, {name: read.document[name] for name in names})
    what = "config" if asked.endpoint.path == "/conf" else "metadata"
    return _Read(
        400,
        {"error": f"Unknown {what}", "message": f"The agent has no {what} '{missing[0]}'."},
    )


def _missing_vllm(asked: _Asked, read: _Read) -> _Read:
    if read.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        return read
    return _Read(
        503,
        {
            "error": f"{asked.endpoint.path} API is unavailable",
            "message": "The agent's process has no vLLM.",
        },
    )


def _missing_role(asked: _Asked, read: _Read) -> _Read:
    document = read.document
    if read.status != HTTPStatus.OK or not isinstance(document, dict) or "role" in document:
        return read
    return _Read(read.status, {**document, "role": asked.agent.role})


_ADAPTERS: dict[tuple[str, str], Callable[[_Asked, _Read], _Read]] = {
    ("POST", "/conf"): _partial_update,
    ("GET", "/conf"): _unknown_names,
    ("GET", "/meta"): _unknown_names,
    ("GET", "/inference_version"): _missing_vllm,
    ("GET", "/lookup/info"): _missing_role,
}
