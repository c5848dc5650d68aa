"""OpenAPI, the browsable API, and the ASGI application."""

import asyncio
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.wsgi_bridge import fit_for_wsgi


def test_openapi__document__is_valid_and_without_warnings(tmp_path):
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml")
    )


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_docs__come_from_installed_packages(path):
    page = Client().get(path).content.decode()

    assert "/static/drf_spectacular_sidecar/" in page
    assert "cdn." not in page
    script = page.split('src="/static/')[1].split('"')[0]
    assert Client().get(f"/static/{script}").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["agents", "users", "tokens", "audit", "operations", "engines"])
def test_browsable_api__browser__gets_a_page_and_everything_else_json(make_user, path):
    client = Client()
    client.force_login(make_user(UserRole.ADMIN))

    page = client.get(f"/api/v1/{path}/", headers={"accept": "text/html,*/*;q=0.8"})
    assert page["Content-Type"].startswith("text/html")
    assert client.get(f"/api/v1/{path}/", headers={"accept": "*/*"})["Content-Type"] == (
        "application/json"
    )


@pytest.mark.django_db
def test_browsable_api__anonymous_browser__is_offered_to_log_in():
    page = Client().get("/api/v1/agents/", headers={"accept": "text/html"})

    assert page.status_code == 401
    assert "/api/auth/login/" in page.content.decode()


class _Recorder:
    """An ASGI application that reads its request to the end."""

    def __init__(self) -> None:
        self.scope: Any = {}
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        more = True
        while more:
            message = await receive()
            self.body += message["body"]
            more = message.get("more_body", False)


def exchange(query: bytes, headers: list[tuple[bytes, bytes]], *parts: bytes) -> _Recorder:
    recorder = _Recorder()
    pending = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]

    async def receive() -> Any:
        return pending.pop(0)

    async def send(message: Any) -> None:
        raise NotImplementedError

    scope = {"type": "http", "query_string": query, "headers": headers}
    asyncio.run(fit_for_wsgi(recorder)(scope, receive, send))
    return recorder


def test_wsgi_bridge__bytes_beyond_ascii_in_the_query__are_escaped():
    assert exchange(b"a=\xff&b=%20", [], b"").scope["query_string"] == b"a=%FF&b=%20"


def test_wsgi_bridge__chunked_body__gets_its_length():
    recorder = exchange(b"", [(b"transfer-encoding", b"chunked")], b'{"a"', b": 1}")

    assert (b"content-length", b"8") in recorder.scope["headers"]
    assert recorder.body == b'{"a": 1}'


def test_wsgi_bridge__endless_chunked_body__is_cut():
    parts = [b"x" * (1 << 20)] * 64
    recorder = exchange(b"", [(b"transfer-encoding", b"chunked")], *parts)

    assert len(recorder.body) < 6 << 20
