"""The first pages that a person meets."""

import pytest
from django.test import Client


@pytest.mark.django_db
def test_root__browser__is_sent_to_the_index() -> None:
    answer = Client().get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/api/v1/")


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


def test_health__anyone__ok_and_nothing_else(client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
