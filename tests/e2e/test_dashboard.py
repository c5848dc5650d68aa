"""The dashboard in a real browser, over a real control plane and real agents."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.support import chromium
from tests.support.controlplane import prepare, register
from tests.support.dashboard import LAPTOP, PHONE, USER, Site, log_in, remade, row
from tests.support.processes import clean_environment, free_ports, running

pytestmark = pytest.mark.slow

AGENT_TOKEN = "agent-token-for-the-dashboard-tests"
WORKERS = ("worker-0", "worker-1")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With the control loop, and without the control plane running yet."""
    directory = tmp_path_factory.mktemp("dashboard")
    port = free_ports(4)
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_DRIFT_POLICY="report",
        KVPLANE_POLL_SECONDS="1",
        KVPLANE_CONTROLLER_LEASE_SECONDS="5",
    )
    urls = [f"http://127.0.0.1:{port + 1 + number}" for number in range(len(WORKERS))]
    site = Site(f"http://127.0.0.1:{port + 3}", directory, environment, urls)
    site.token = prepare(environment, USER, "admin")
    with ExitStack() as stack:
        for number, name in enumerate(WORKERS):
            register(
                environment, name, urls[number], engine="e", worker_id=number, token=AGENT_TOKEN
            )
        agents = clean_environment(
            KVPLANE_AGENT_TOKEN=AGENT_TOKEN,
            KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
            KVPLANE_SERVE_SCHEDULER="false",
            KVPLANE_WORKER_IDS="0,1",
            KVPLANE_WORLD_SIZE="2",
            KVPLANE_NUM_LAYERS="2",
            KVPLANE_NUM_BLOCKS="16",
            KVPLANE_MAX_LOCAL_CPU_SIZE="0.1",
        )
        health = [f"{url}/health" for url in urls]
        command = [sys.executable, "-m", "engine"]
        stack.enter_context(running(command, agents, directory / "agents.log", health))
        yield site


@pytest.fixture
def served(site: Site) -> Iterator[Site]:
    with site.serving():
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


def test_journey__freeze_for_ten_minutes__arrives_in_a_second_window_and_in_the_audit_log(
    browser: Browser, served: Site
) -> None:
    first, second = log_in(browser, served), log_in(browser, served)
    for agent in WORKERS:
        expect(row(first.page, agent)).to_contain_text("online", timeout=20_000)
    loaded = second.page.evaluate("performance.timeOrigin")

    first.page.get_by_label("Select worker-1").check()
    first.page.get_by_role("button", name="Freeze", exact=True).click()
    expect(first.page.get_by_role("heading", level=1)).to_have_text("Freeze: 1 agent")
    first.page.get_by_label("Reason").fill("deploy 42")
    first.page.get_by_label("Ends after").fill("10")
    first.page.get_by_role("button", name="Freeze: 1 agent").click()

    expect(row(second.page, "worker-1")).to_contain_text("frozen · ends in 9 min")
    expect(row(second.page, "worker-0")).not_to_contain_text("frozen")
    assert second.page.evaluate("performance.timeOrigin") == loaded

    expect(first.page.locator("h1")).to_contain_text("freeze.enable succeeded")
    expect(first.page.locator("#operation")).to_contain_text("1 of 1 agent done: 1 succeeded")
    operation = first.page.url.rstrip("/").rpartition("/")[2]
    assert served.api(f"/api/v1/operations/{operation}/")["state"] == "succeeded"

    first.page.get_by_role("link", name="its entries").click()
    # Asked for, its part on the agent, the whole of it.
    expect(first.page.locator("#entries tbody tr")).to_have_count(3)
    expect(first.page.locator("#entries")).to_contain_text("deploy 42")
    parts = first.page.locator("#entries tbody tr").filter(has_text="worker-1")
    parts.last.locator("th a").click()
    panel = first.page.locator("#entry-panel")
    expect(panel).to_contain_text("freeze")
    expect(panel.locator(".diff")).to_contain_text("true")
    assert first.page.evaluate("document.activeElement.id") == "entry-panel"
    first.check("journey-audit")
    second.check("journey-fleet")


def test_journey__change_a_configuration_and_roll_it_back__is_all_on_record(
    browser: Browser, served: Site
) -> None:
    watched = log_in(browser, served)
    page = watched.page
    expect(row(page, "worker-0")).to_contain_text("online", timeout=20_000)
    page.get_by_role("link", name="worker-0", exact=True).click()
    page.get_by_role("link", name="Change configuration…").click()
    page.get_by_label("min_retrieve_tokens").fill("-1")
    page.get_by_label("Reason").fill("shorter prompts")
    page.get_by_role("button", name="Change worker-0").click()
    expect(page.get_by_text("min_retrieve_tokens: it must be at least 0")).to_be_visible()
    page.get_by_role("alert").get_by_role("link", name="min_retrieve_tokens").click()
    expect(page.get_by_label("min_retrieve_tokens")).to_be_focused()
    # The browser tells of every answer that is no success.
    assert len(watched.problems) == 1
    watched.troubles.errors.clear()
    page.get_by_label("min_retrieve_tokens").fill("64")
    page.get_by_role("button", name="Change worker-0").click()
    expect(page.locator("h1")).to_contain_text("conf.update succeeded")

    watched.open("/dashboard/revisions/?agent=worker-0")
    expect(page.locator("#revisions tbody tr")).to_have_count(2)
    page.get_by_role("link", name="worker-0 2").click()
    expect(page.locator(".diff")).to_contain_text("min_retrieve_tokens")
    watched.check("revision")
    page.go_back()
    page.get_by_role("link", name="worker-0 1").click()
    page.get_by_role("link", name="Roll back to this…").click()
    expect(page.locator(".diff")).to_contain_text("64")
    watched.check("restore")
    page.get_by_label("Reason").fill("too slow")
    page.get_by_role("button", name="Roll back: 1 agent").click()
    expect(page.locator("h1")).to_contain_text("conf.update succeeded")

    watched.open("/dashboard/audit/?text=min_retrieve_tokens&agent=worker-0")
    expect(page.locator("#entries")).to_contain_text("shorter prompts")
    expect(page.locator("#entries")).to_contain_text("too slow")
    watched.check("journey-text")


def test_journey__changed_past_the_control_plane__drift_is_found_with_both_sides(
    browser: Browser, served: Site
) -> None:
    watched = log_in(browser, served)
    page = watched.page
    expect(row(page, "worker-1")).to_contain_text("online", timeout=20_000)
    headers = {"Authorization": f"Bearer {AGENT_TOKEN}"}
    with httpx.Client(base_url=served.agent_urls[1], headers=headers, trust_env=False) as agent:
        agent.post("/conf", json={"min_retrieve_tokens": 7}).raise_for_status()
        expect(row(page, "worker-1")).to_contain_text("drift: min_retrieve_tokens", timeout=15_000)
        page.get_by_role("link", name="1 drifting").click()
        expect(page.locator("#fleet tbody tr:not(.group)")).to_have_count(1)
        for width in (1440, 1280, 1024, 820):
            page.set_viewport_size({"width": width, "height": 900})
            watched.check(f"drift-fleet-{width}")
        page.get_by_role("link", name="worker-1", exact=True).click()
        expect(page.locator("tr.differs")).to_contain_text("7 differs")
        watched.check("drift-agent")
        agent.post("/conf", json={"min_retrieve_tokens": 0}).raise_for_status()
        expect(page.locator("tr.differs")).to_have_count(0, timeout=15_000)


def test_journey__one_worker__freeze_rolled_back_lookup_recreated_slots_checked(
    browser: Browser, served: Site
) -> None:
    watched = log_in(browser, served)
    page = watched.page
    expect(row(page, "worker-0")).to_contain_text("online", timeout=20_000)
    page.get_by_role("link", name="worker-0", exact=True).click()
    watched.check("agent-tools")
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.get_by_label("Reason").fill("deploy 42")
    page.get_by_role("button", name="Freeze: 1 agent").click()
    page.get_by_role("link", name="Roll back…").click()
    expect(page.locator(".sheet")).to_contain_text("PUT /freeze/disable")
    watched.check("rollback")
    page.get_by_label("Reason").fill("too early")
    page.get_by_role("button", name="Roll back: 1 agent").click()
    expect(page.locator("#operation")).to_contain_text("succeeded taken back")
    watched.check("rolled-back")

    page.get_by_role("link", name="worker-0", exact=True).click()
    page.get_by_role("link", name="Recreate…").click()
    expect(page.locator(".facts")).to_contain_text("LMCacheLookupServer")
    watched.check("recreate")
    page.get_by_label("Reason").fill("ratio changed")
    page.get_by_role("button", name="Recreate: 1 agent").click()
    expect(page.locator("h1")).to_contain_text("lookup.recreate succeeded")

    watched.open("/dashboard/agents/worker-0/")
    page.get_by_role("link", name="KV cache: layout, checksums…").click()
    page.get_by_label("Slots", exact=True).fill("0,1,[4,7]")
    page.get_by_label("Slots in one checksum").fill("2")
    page.get_by_role("button", name="Ask worker-0").click()
    expect(page.locator("table").last.locator("tbody tr")).to_have_count(3)
    watched.check("kvcache")


def test_connection__control_plane_stops_and_comes_back__page_says_so_both_times(
    browser: Browser, site: Site
) -> None:
    with site.serving():
        watched = log_in(browser, site)
        assert watched.problems == []
    expect(watched.page.locator("#connection")).to_have_text("connection lost")
    announced = watched.page.get_by_role("status").filter(has_text="Connection lost")
    expect(announced).to_be_visible()
    found = Axe().run(watched.page)
    assert found.violations_count == 0, found.generate_report()
    with site.serving():
        expect(watched.page.locator("#connection")).to_have_text("live", timeout=30_000)
        expect(
            watched.page.get_by_role("status").filter(has_text="Connected again")
        ).to_be_visible()
    # The browser itself reports what it could not reach, and nothing else went wrong.
    told = ("WebSocket connection", "net::ERR_CONNECTION_REFUSED")
    assert all(any(text in problem for text in told) for problem in watched.problems)


def test_selection__table_is_made_anew__stays(browser: Browser, served: Site) -> None:
    watched = log_in(browser, served)
    page = watched.page
    page.get_by_label("Select worker-0").check()
    expect(page.locator("#selected")).to_have_text("1 selected")
    remade(page, "fleet")
    expect(page.get_by_label("Select worker-0")).to_be_checked()
    page.get_by_label("Select all agents that are shown").check()
    expect(page.locator("#selected")).to_have_text("2 selected")
    page.get_by_label("Search").fill("worker-1")
    expect(page.locator("#fleet tbody tr:not(.group)")).to_have_count(1)
    expect(page.locator("#selected")).to_have_text("1 selected")
    page.wait_for_url(re.compile(r"/dashboard/\?q=worker-1$"))
    assert watched.problems == []


def test_refresh__reader_is_somewhere_in_it__focus_and_what_is_open_stay(
    browser: Browser, served: Site
) -> None:
    watched = log_in(browser, served)
    page = watched.page
    page.get_by_role("link", name="worker-0", exact=True).focus()
    remade(page, "fleet")
    assert page.evaluate("document.activeElement.id") == "agent-worker-0"
    watched.open("/dashboard/agents/worker-0/")
    page.get_by_text("History of its modes").click()
    remade(page, "agent")
    assert page.evaluate("document.activeElement.id") == "history-summary"
    expect(page.locator("#history table")).to_be_visible()
    assert watched.problems == []


def test_keyboard__alone__selects_an_agent_and_reaches_the_form(
    browser: Browser, served: Site
) -> None:
    watched = log_in(browser, served)
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "pick-worker-0":
            break
    page.keyboard.press("Space")
    expect(page.locator("#selected")).to_have_text("1 selected")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.value") == "freeze.disable":
            break
    outlined = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outlined) == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("freeze.disable succeeded")
    watched.check("keyboard")


def test_filters__on_a_phone__are_folded_away_until_somebody_wants_them(
    browser: Browser, served: Site
) -> None:
    watched = log_in(browser, served, viewport=PHONE)
    page = watched.page
    search = page.get_by_label("Search")
    expect(search).to_be_hidden()
    page.get_by_text("Filters", exact=True).click()
    search.fill("worker-1")
    expect(page.locator("#fleet tbody tr:not(.group)")).to_have_count(1)
    page.wait_for_url(re.compile(r"/dashboard/\?q=worker-1$"))
    page.reload()
    expect(search).to_be_visible()
    watched.check("filters-phone")


def test_verify__button__turns_the_badge_of_another_window(browser: Browser, served: Site) -> None:
    first, second = log_in(browser, served), log_in(browser, served)
    first.open("/dashboard/audit/")
    first.page.get_by_role("button", name="Verify now").click()
    expect(first.page.locator("#chain")).to_contain_text("valid up to")
    expect(second.page.locator("#chain")).to_contain_text("valid up to")
    assert first.problems == second.problems == []


def test_audit__text_is_too_short__reader_is_led_to_it(browser: Browser, served: Site) -> None:
    watched = log_in(browser, served)
    watched.open("/dashboard/audit/")
    text = watched.page.get_by_label("Text in the diff")
    text.press_sequentially("ab")
    watched.page.get_by_label("Outcome").focus()
    watched.page.get_by_label("Outcome").select_option("failed")
    expect(text).to_be_focused()
    text.press_sequentially("c")
    watched.page.get_by_role("button", name="Show").click()
    expect(watched.page).to_have_url(re.compile(r"outcome=failed.*text=abc"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_pages__light_and_dark_laptop_and_phone__nothing_wrong(
    browser: Browser, served: Site, scheme: str, viewport: dict[str, int]
) -> None:
    watched = log_in(browser, served, color_scheme=scheme, viewport=viewport)
    operations = served.api("/api/v1/operations/")["results"]
    operation = operations[0]["id"] if operations else ""
    size = "phone" if viewport is PHONE else "laptop"
    pages = {
        "fleet": "/dashboard/",
        "empty": "/dashboard/?q=nobody",
        "confirm": "/dashboard/fleet/confirm/?action=bypass.add&agent=worker-0&agent=worker-1",
        "agent": "/dashboard/agents/worker-0/",
        "edit": "/dashboard/agents/worker-0/edit/",
        "kvcache": "/dashboard/agents/worker-0/kvcache/?slot_mapping=0&chunk_size=1&layerwise=true",
        "recreate": "/dashboard/agents/worker-0/lookup/",
        "revisions": "/dashboard/revisions/",
        "operations": "/dashboard/operations/",
        "operation": f"/dashboard/operations/{operation}/",
        "statistics": "/dashboard/statistics/",
        "audit": "/dashboard/audit/",
        "entry": "/dashboard/audit/1/",
    }
    for name, path in pages.items():
        watched.open(path)
        watched.check(f"{name}-{size}-{scheme}")
