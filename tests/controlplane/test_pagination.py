"""Pages of lists, and the way from one to the next."""

from urllib.parse import parse_qs, urlsplit

import pytest


@pytest.fixture
def five_agents(make_agent) -> list[str]:
    names = [f"worker-{number}" for number in range(5)]
    for number, name in enumerate(names):
        make_agent(name, url=f"http://127.0.0.1:{7000 + number}", worker_id=number)
    return names


def page(api, **query) -> dict:
    answer = api.get("/api/v1/agents/", {"page_size": 2, **query})
    assert answer.status_code == 200, answer.content
    return answer.json()


def names(found: dict) -> list[str]:
    return [agent["name"] for agent in found["results"]]


def test_pages__by_next_cursor__all_rows_once_and_back_again(viewer_api, five_agents) -> None:
    first = page(viewer_api)
    second = page(viewer_api, cursor=first["next_cursor"])
    third = page(viewer_api, cursor=second["next_cursor"])
    assert names(first) + names(second) + names(third) == five_agents
    assert names(page(viewer_api, cursor=third["previous_cursor"])) == names(second)


def test_cursors__of_a_page__are_those_in_its_urls(viewer_api, five_agents) -> None:
    second = page(viewer_api, cursor=page(viewer_api)["next_cursor"])
    for url, cursor in (("next", "next_cursor"), ("previous", "previous_cursor")):
        assert parse_qs(urlsplit(second[url]).query)["cursor"] == [second[cursor]]


def test_cursors__of_the_only_page__null(viewer_api, make_agent) -> None:
    make_agent()
    only = page(viewer_api)
    assert (only["next"], only["next_cursor"]) == (None, None)
    assert (only["previous"], only["previous_cursor"]) == (None, None)
