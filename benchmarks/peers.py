"""What the control plane is compared with: the least that forwards a call."""

import os

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_client = httpx.AsyncClient(
    base_url=os.environ["PROXIED_URL"],
    headers={"Authorization": f"Bearer {os.environ['PROXIED_TOKEN']}"},
    trust_env=False,
)


async def forward(request: Request) -> Response:
    """Pass the call on and the answer back: no login, no database."""
    answer = await _client.request(request.method, request.url.path)
    return Response(
        answer.content, answer.status_code, media_type=answer.headers.get("content-type")
    )


proxy = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "PUT", "POST", "DELETE"])])
