"""What pages allow a browser to load and run."""

import re

import pytest
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.content_policy import DOCUMENTS, HEADER, PAGES

pytestmark = pytest.mark.django_db
BROWSER = {"accept": "text/html,*/*;q=0.8"}
INLINE = re.compile(
    r"<style|<[^>]+\s(?:style|on[a-z]+)=|javascript:|"
    r"<script(?![^>]*\ssrc=)(?![^>]*type=\"application/json\")"
)


@pytest.fixture
def browser(make_user, make_agent, agents) -> Client:
    make_agent()
    client = Client(headers=BROWSER)
    client.force_login(make_user(UserRole.ADMIN))
    return client


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/audit/auditentry/",
        "/admin/fleet/agent/",
        "/admin/fleet/agent/add/",
        "/admin/accounts/user/add/",
        "/admin/password_change/",
        "/api/v1/",
        "/api/v1/agents/",
        "/api/v1/operations/",
        "/agents/worker-0/",
        "/agents/worker-0/freeze/status",
        "/agents/nobody/freeze/status",
        "/dashboard/",
        "/nowhere",
        "/api/v1/agents/?agent=%00",
    ],
)
def test_page__of_any_room__allows_nothing_inline_and_nothing_from_elsewhere(browser, path):
    answer = browser.get(path)

    assert answer["Content-Type"].startswith("text/html")
    assert answer[HEADER] == PAGES
    assert INLINE.findall(answer.content.decode()) == []


@pytest.mark.parametrize("path", ["/admin/login/", "/api/auth/login/"])
def test_login__anybody__is_under_the_policy(path):
    answer = Client(headers=BROWSER).get(path)

    assert answer[HEADER] == PAGES
    assert INLINE.findall(answer.content.decode()) == []


def test_policy__of_pages__names_this_site_only():
    allowed = dict(rule.split(" ", 1) for rule in PAGES.split("; "))

    assert allowed["default-src"] == "'none'"
    assert set(allowed.values()) == {"'self'", "'none'"}


@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_documents__viewer__may_style_itself_and_run_only_scripts_of_this_site(path):
    answer = Client(headers=BROWSER).get(path)

    assert answer[HEADER] == DOCUMENTS
    allowed = dict(rule.split(" ", 1) for rule in answer[HEADER].split("; "))
    assert allowed["script-src"] == allowed["connect-src"] == "'self'"
    assert "<script>" not in answer.content.decode()


def test_documents__script_that_starts_the_viewer__is_of_this_site():
    page = Client(headers=BROWSER).get("/api/docs/").content.decode()
    (path,) = re.findall(r'src="(/api/docs/[^"]*)"', page)

    script = Client().get(path)

    assert script["Content-Type"].startswith("application/javascript")
    assert "SwaggerUIBundle(" in script.content.decode()


def test_answer__for_programs__has_no_policy(viewer_api):
    answer = viewer_api.get("/api/v1/agents/")

    assert answer["Content-Type"] == "application/json"
    assert HEADER not in answer
