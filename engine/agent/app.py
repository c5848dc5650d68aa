"""The agent as an ASGI application."""

import json
import logging

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.agent import request_id
from engine.agent.agent import Agent
from engine.agent.auth import guard_for
from engine.agent.call import Call, EncodedJSON
from engine.agent.components import require
from engine.agent.own_endpoints import PUBLIC
from engine.agent.reading import read_arguments
from engine.agent.routes import MethodNotAllowed, Route, find_route
from engine.contract import ContractError, Unauthorized

logger = logging.getLogger(__name__)


class InternalError(ContractError):
    """The agent failed; nothing in the request was wrong."""

    def __init__(self, identifier: str) -> None:
        super().__init__(
            500,
            "Internal error",
            f"The agent failed; its log says why under the request id '{identifier}'.",
        )


class AgentApp:
    """One agent's endpoints, behind its guard.

    Starlette's own router is left out: it would try patterns in turn, redirect a
    trailing slash and hide a 405 behind the next match, where the contract's
    fixed paths need one look into a table.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._guard = guard_for(agent.config.agent_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"An agent serves http, not {scope['type']}.")
        request = Request(scope, receive)
        identifier = request_id.request_id_from(request.headers.get(request_id.HEADER))
        try:
            response = await self._respond(request, identifier)
        except ClientDisconnect:
            return
        except ContractError as error:
            response = _error_response(error)
        except Exception:
            # Any endpoint's mistake: the caller gets an answer, and the log says why.
            logger.exception("%s %r failed, request %s", request.method, scope["path"], identifier)
            response = _error_response(InternalError(identifier))
        response.headers[request_id.HEADER] = identifier
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _respond(self, request: Request, identifier: str) -> Response:
        route = self._admit(request)
        endpoint = route.endpoint
        require(self.agent, endpoint)
        arguments = await read_arguments(request, endpoint, self.agent.workers)
        content = await route.handler(
            Call(
                self.agent,
                endpoint,
                identifier,
                arguments.values,
                arguments.body,
                request.is_disconnected,
            )
        )
        if endpoint.media_type == "text/plain":
            return Response(str(content), media_type=endpoint.media_type)
        if isinstance(content, EncodedJSON):
            return Response(content, media_type=endpoint.media_type)
        return _json_response(content)

    def _admit(self, request: Request) -> Route:
        """The route asked for, once the guard let the request in. A stranger
        does not learn which paths exist."""
        try:
            route = find_route(request.method, request.scope["path"])
        except ContractError:
            self._guard.check(request.headers, public=False)
            raise
        self._guard.check(request.headers, public=route.endpoint.operation_id in PUBLIC)
        return route


def create_app(agent: Agent) -> AgentApp:
    """The ASGI application that serves this agent."""
    return AgentApp(agent)


def _json_response(content: object, status: int = 200) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("utf-8"), status, media_type="application/json")


def _error_response(error: ContractError) -> Response:
    response = _json_response(error.body(), error.status)
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = error.allowed
    if isinstance(error, Unauthorized):
        response.headers["www-authenticate"] = "Bearer"
    return response
