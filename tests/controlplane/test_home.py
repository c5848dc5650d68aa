"""The first pages that a person meets."""

import asyncio

import pytest
from django.test import Client

from controlplane.health import with_health

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("accept", [CHROMIUM, "text/html", "text/html, application/json;q=0.9"])
def test_root__browser__is_sent_to_the_dashboard(accept) -> None:
    answer = Client().get("/", headers={"accept": accept})
    assert (answer.status_code, answer["Location"]) == (302, "/dashboard/")
    assert "Accept" in answer["Vary"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"accept": "*/*"},
        {"accept": "application/json"},
        {"accept": "application/json, text/html"},
        {"accept": "application/json, text/html;q=0.9"},
        {"accept": "nonsense"},
    ],
)
def test_root__program__is_sent_to_the_index(headers) -> None:
    answer = Client().get("/", headers=headers)
    assert (answer.status_code, answer["Location"]) == (302, "/api/v1/")
    assert "Accept" in answer["Vary"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/"])
def test_index__viewer__every_link_answers(admin_api, path) -> None:
    links = admin_api.get(path).json()
    assert {"agents", "operations", "audit", "docs"} <= set(links)
    for url in links.values():
        assert admin_api.get(url).status_code == 200


@pytest.mark.django_db
def test_index__anonymous__401(client) -> None:
    assert client.get("/api/v1/").status_code == 401


def ask_asgi(path: str, method: str = "GET") -> list[dict[str, object]]:
    """What the ASGI application sends, with every thread of the pool left out."""
    sent: list[dict[str, object]] = []

    async def unreachable(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("went on to Django")

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"anything")]}
    asyncio.run(with_health(unreachable)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_health__any_host_and_no_free_thread__ok_and_nothing_else(path) -> None:
    start, body = ask_asgi(path)
    assert (start["status"], body["body"]) == (200, b'{"status": "ok"}')


@pytest.mark.parametrize(("path", "method"), [("/healthy", "GET"), ("/health", "POST")])
def test_health__anything_else__goes_on(path, method) -> None:
    with pytest.raises(RuntimeError, match="went on"):
        ask_asgi(path, method)
