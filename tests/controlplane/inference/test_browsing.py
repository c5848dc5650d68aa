"""The documented endpoints as a browser gets them."""

import pytest

from engine.contract import CATALOGUE

pytestmark = pytest.mark.django_db

PATHS = sorted({entry.path for entry in CATALOGUE})
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", PATHS)
def test_page__of_every_path__has_a_form_for_each_method_with_its_parameters(
    operator_api, make_agent, agents, path
) -> None:
    make_agent()
    page = operator_api.get(f"/agents/worker-0{path}", headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    text = page.content.decode()
    endpoints = [entry for entry in CATALOGUE if entry.path == path]
    for endpoint in endpoints:
        assert f'data-call-method="{endpoint.method}"' in text
        for parameter in endpoint.parameters:
            assert f'name="{parameter.name}"' in text
    takes_body = any(entry.body_schema is not None for entry in endpoints)
    assert ("data-body" in text) == takes_body


def test_page__no_agent_in_the_path__asks_for_agent_and_engine(
    operator_api, make_agent, agents
) -> None:
    make_agent()
    text = operator_api.get("/freeze/status", headers=HTML).content.decode()
    assert 'name="agent"' in text
    assert 'name="engine"' in text
    scoped = operator_api.get("/agents/worker-0/freeze/status", headers=HTML).content.decode()
    assert 'name="agent"' not in scoped
    assert 'name="engine"' not in scoped


def test_page__viewer_at_a_change__button_is_disabled(viewer_api, make_agent, agents) -> None:
    make_agent()
    text = viewer_api.get("/agents/worker-0/freeze/enable", headers=HTML).content.decode()
    assert "Your role does not allow this call." in text


def test_page__answer_of_the_agent__is_shown(operator_api, make_agent, agents) -> None:
    make_agent()
    text = operator_api.get("/freeze/status", headers=HTML).content.decode()
    assert "success" in text


def test_page__error__is_a_page_with_the_message(operator_api) -> None:
    page = operator_api.get("/agents/nobody/conf", headers=HTML)
    assert page.status_code == 404
    assert "nobody" in page.content.decode()


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain", "image/png"])
def test_answer__any_other_accept__is_the_agents_bytes(
    operator_api, make_agent, agents, accept
) -> None:
    make_agent()
    answer = operator_api.get("/freeze/status", headers={"accept": accept})
    assert answer.json() == {"status": "success"}
