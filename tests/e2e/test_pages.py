"""Pages in a real browser: what a person clicks is what is sent, once."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.chromium import Troubles, browser
from tests.support.controlplane import PASSWORD, prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running

pytestmark = pytest.mark.slow

USER = "anna"
AGENT_TOKEN = "agent-token-for-the-page-tests"
REDOCS_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"


@dataclass(frozen=True)
class Site:
    """A control plane with one worker behind it."""

    url: str
    token: str

    def audit(self, action: str) -> list[dict[str, object]]:
        answer = httpx.get(
            f"{self.url}/api/v1/audit/",
            params={"action": action},
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
        )
        return answer.json()["results"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    port = free_ports(3)
    agent_url, url = f"http://127.0.0.1:{port + 1}", f"http://127.0.0.1:{port + 2}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    token = prepare(environment, USER, "admin")
    agent_environment = clean_environment(
        KVPLANE_AGENT_TOKEN=AGENT_TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
        KVPLANE_SERVE_SCHEDULER="false",
        KVPLANE_NUM_LAYERS="2",
        KVPLANE_NUM_BLOCKS="16",
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.1",
    )
    register(environment, "w", agent_url, engine="e", worker_id=0, token=AGENT_TOKEN)
    with (
        running(
            [sys.executable, "-m", "engine"],
            agent_environment,
            directory / "agent.log",
            [f"{agent_url}/health"],
        ),
        running(
            serve_command(port + 2),
            environment,
            directory / "controlplane.log",
            [f"{url}/health"],
        ),
    ):
        yield Site(url, token)


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    """A logged-in browser that notes what goes wrong and what leaves the site."""
    with browser() as started:
        page = started.new_page()
        page.goto(f"{site.url}/api/auth/login/?next=/api/v1/")
        page.fill("input[name=username]", USER)
        page.fill("input[name=password]", PASSWORD)
        page.click("input[type=submit]")
        page.wait_for_url(f"{site.url}/api/v1/")
        yield page


def test_form__change_with_a_reason__is_sent_once_and_recorded(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/agents/w/freeze/enable")
    page.fill("[data-reason]", "Wartung, ünïcode")
    page.click(".kvp-call button[type=submit]")
    page.wait_for_selector(".kvp-answer h3:has-text('answered 200')")
    expect(page.locator(".kvp-answer pre")).to_contain_text('"freeze": true')
    entries = site.audit("freeze.enable")
    assert [entry["stage"] for entry in entries] == ["completed", "requested"]
    assert {entry["reason"] for entry in entries} == {"Wartung, ünïcode"}


def test_form__parameters_and_body__arrive_at_the_agent(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/agents/w/conf")
    post = page.locator("form[data-call-method=POST]")
    post.locator("select[name=atomic]").select_option("true")
    post.locator("[data-body]").fill('{"min_retrieve_tokens": 64, "chunk_size": 1}')
    post.locator("button[type=submit]").click()
    page.wait_for_selector(".kvp-answer h3:has-text('answered 400')")
    expect(post.locator("pre")).to_contain_text("Config is not mutable at runtime")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/",
        "/api/v1/agents/",
        "/api/v1/operations/",
        "/api/v1/audit/",
        "/agents/w/conf",
        "/agents/w/version",
        "/agents/w/cache/kvcache/info",
        "/api/docs/",
        "/api/redoc/",
        "/admin/",
        "/admin/audit/auditentry/",
        "/admin/fleet/agent/",
    ],
)
def test_page__opened__no_errors_and_nothing_from_elsewhere(
    page: Page, site: Site, path: str
) -> None:
    troubles = Troubles(site.url)
    troubles.watch(page)
    kept_in: set[str] = set()
    # What the page's own policy blocks never leaves the browser.
    page.on(
        "requestfailed",
        lambda request: kept_in.add(request.url) if request.failure == "csp" else None,
    )
    answer = page.goto(f"{site.url}{path}")
    page.wait_for_load_state("networkidle")
    assert answer is not None
    assert answer.status == 200
    assert kept_in <= {REDOCS_LOGO}
    assert set(troubles.outside) <= kept_in
    assert [error for error in troubles.errors if REDOCS_LOGO not in error] == []


def test_document__call_tried_out__is_sent_and_answered(page: Page, site: Site) -> None:
    troubles = Troubles(site.url)
    troubles.watch(page)
    page.goto(f"{site.url}/api/docs/")
    # Only what is in sight has been made.
    call = page.locator("#operations-index-get_index")
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()

    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text(
        "200", timeout=20_000
    )
    assert (troubles.errors, troubles.outside) == ([], [])


def test_document__searched__finds_calls(page: Page, site: Site) -> None:
    troubles = Troubles(site.url)
    troubles.watch(page)
    page.goto(f"{site.url}/api/redoc/")
    page.get_by_role("textbox").first.fill("freeze")

    found = page.locator("[data-role='search:results']")
    expect(found).to_contain_text("Freeze mode status", timeout=60_000)
    assert [error for error in troubles.errors if REDOCS_LOGO not in error] == []


WATCHING = """() => new Promise((resolve, reject) => {
  const socket = new WebSocket(`ws://${location.host}/ws/events/?kind=freeze.*`);
  const seen = [];
  socket.onmessage = async (message) => {
    seen.push(JSON.parse(message.data));
    if (seen.length === 1) {
      await fetch('/agents/w/freeze/disable', {
        method: 'PUT', headers: {'X-CSRFToken': document.cookie.match(/kvplane_csrf=([^;]+)/)[1]},
      });
    } else {
      socket.close();
      resolve(seen);
    }
  };
  socket.onclose = (event) => { if (seen.length < 2) reject(new Error(`closed ${event.code}`)); };
})"""


def test_events__browser_with_a_session__sees_its_own_change(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/agents/w/freeze/disable")
    hello, event = page.evaluate(WATCHING)

    assert hello["kind"] == "hello"
    assert (event["kind"], event["agent"], event["actor"]) == ("freeze.disable", "w", USER)
    assert event["cursor"] > hello["cursor"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/v1/config-revisions/", '"source": "import"'),
        ("/api/v1/modes/", '"mode": "freeze"'),
        ("/api/v1/mode-changes/", '"state": "applied"'),
        ("/api/v1/operations/", '"action": "conf.update"'),
        ("/api/v1/watches/", "results"),
        ("/api/v1/controllers/", "results"),
        ("/api/v1/chunk-statistics/", "results"),
        ("/api/v1/tier-statistics/", "results"),
        ("/admin/configuration/configrevision/", "min"),
        ("/admin/modes/modechange/", "Freeze"),
        ("/admin/modes/desiredmode/", "Freeze"),
        ("/admin/reconcile/watch/", "Select watch"),
        ("/admin/reconcile/controller/", "Select controller"),
        ("/admin/statistics/chunkstatisticssnapshot/", "Select chunk statistics snapshot"),
        ("/admin/statistics/tierstatisticssnapshot/", "Select tier statistics snapshot"),
    ],
)
def test_page__of_what_is_remembered__shows_it(
    page: Page, site: Site, path: str, text: str
) -> None:
    with httpx.Client(
        base_url=site.url, headers={"Authorization": f"Bearer {site.token}"}, trust_env=False
    ) as api:
        api.put("/agents/w/freeze/enable").raise_for_status()
        reason = {"X-KVPlane-Reason": "minimum for tests"}
        api.post(
            "/agents/w/conf", json={"min_retrieve_tokens": 3}, headers=reason
        ).raise_for_status()

    answer = page.goto(f"{site.url}{path}")

    assert answer is not None
    assert answer.status == 200
    assert text in page.inner_text("body")
    if shots := os.environ.get("KVPLANE_SCREENSHOTS"):
        page.screenshot(path=f"{shots}/{path.strip('/').replace('/', '-')}.png")


def test_operation__posted_from_its_page__is_carried_out(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/api/v1/operations/#post")
    form = page.locator("form[data-call-method=POST]")
    form.get_by_label("wait").fill("10")
    form.get_by_text("Write the body as JSON instead").click()
    form.locator("[data-body]").fill(
        '{"action": "freeze.enable", "selector": {"everybody": true}}',
    )
    form.get_by_role("button", name="Send POST").click()
    page.wait_for_selector(".kvp-answer h3:has-text('answered 200')")
    expect(form.locator("pre")).to_contain_text('"state": "succeeded"')
