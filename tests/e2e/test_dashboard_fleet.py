"""The fleet page in a real browser, with more agents than a screen holds and names as long as
names may be."""

import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import chromium
from tests.support.controlplane import prepare
from tests.support.dashboard import PHONE, USER, Site, log_in, row
from tests.support.processes import clean_environment, free_ports, manage, running

pytestmark = pytest.mark.slow

COUNT = 60
LONG = "a" * 128
LONG_ENGINE = "engine-of-" + "e" * 118
WIDTHS = (1440, 390, 320)
_REGISTER = """
from controlplane.audit.actors import Actor, ActorKind
from controlplane.fleet.services import AgentSpec, register_agent
from engine.contract import Role
actor = Actor(ActorKind.COMMAND, "tests", "command:tests")
for number in range({count}):
    name = "{long}" if number == 0 else f"worker-{{number:02}}"
    engine = "{engine}" if number == 0 else f"engine-{{number % 2}}"
    url = f"http://127.0.0.1:{{{port} + number}}"
    spec = AgentSpec(name, url, Role.WORKER, number, engine)
    register_agent(spec, actor=actor, request_id="setup")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Many simulated agents, all of them online."""
    directory = tmp_path_factory.mktemp("fleet")
    port = free_ports(COUNT + 1)
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_POLL_SECONDS="2",
        KVPLANE_CONTROLLER_LEASE_SECONDS="5",
    )
    site = Site(f"http://127.0.0.1:{port}", directory, environment, [])
    site.token = prepare(environment, USER, "admin")
    script = _REGISTER.format(count=COUNT, long=LONG, engine=LONG_ENGINE, port=port + 1)
    manage(environment, "shell", "-c", script)
    fleet = [
        *(sys.executable, "-m", "tests.support.simulated_fleet"),
        *("--port", str(port + 1), "--count", str(COUNT)),
    ]
    health = [f"http://127.0.0.1:{port + COUNT}/health"]
    with running(fleet, clean_environment(), directory / "fleet.log", health), site.serving():
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


def all_online(page: Page) -> None:
    expect(page.locator(".summary")).to_contain_text(f"{COUNT} online", timeout=60_000)


def confirm(page: Page, button: str, heading: str) -> None:
    """Press a button of the actions bar, and go through with it."""
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    page.get_by_label("Reason").fill("deploy 42")
    page.get_by_role("button", name=heading).click()


def test_freeze__two_agents_selected__both_are_frozen(browser: Browser, site: Site) -> None:
    watched = log_in(browser, site)
    page = watched.page
    all_online(page)
    page.get_by_label("Select worker-01").check()
    page.get_by_label("Select worker-02").check()
    confirm(page, "Freeze", "Freeze: 2 agents")
    expect(page.locator("#operation")).to_contain_text("2 of 2 agents done: 2 succeeded")
    watched.open("/dashboard/?state=frozen")
    expect(row(page, "worker-01")).to_contain_text("frozen")
    expect(row(page, "worker-02")).to_contain_text("frozen")
    assert watched.problems == []


@pytest.mark.parametrize("size", ["laptop", "phone"])
def test_configuration__one_key_of_three_agents__is_changed_after_a_look(
    browser: Browser, site: Site, size: str
) -> None:
    options = {"viewport": PHONE} if size == "phone" else {}
    watched = log_in(browser, site, **options)
    page = watched.page
    all_online(page)
    value = "64" if size == "laptop" else "96"
    for number in (3, 4, 5):
        page.get_by_label(f"Select worker-0{number}").check()
    page.get_by_role("button", name="Change configuration…").click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Change configuration: 3 agents")
    watched.check(f"fleet-settings-{size}")
    page.get_by_label("Key", exact=True).select_option("min_retrieve_tokens")
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("min_retrieve_tokens").fill("-1")
    page.get_by_role("button", name="Show what changes").click()
    expect(page.locator(".problem")).to_contain_text("at least 0")
    watched.check(f"fleet-settings-refused-{size}")
    page.get_by_label("min_retrieve_tokens").fill(value)
    page.get_by_role("button", name="Show what changes").click()
    expect(page.get_by_role("region", name="What changes")).to_contain_text("worker-05")
    watched.check(f"fleet-settings-preview-{size}")
    page.get_by_label("Reason").fill("shorter prompts")
    page.get_by_role("button", name="Change min_retrieve_tokens: 3 agents").click()
    expect(page.locator("#operation")).to_contain_text("3 of 3 agents done: 3 succeeded")
    watched.open("/dashboard/agents/worker-04/")
    setting = page.locator('tr[data-key="min_retrieve_tokens"]')
    expect(setting.get_by_role("cell").first).to_have_text(value)
    assert watched.problems == []


def test_hot_cache__everybody_selected_on_a_phone__nobody_is_left_out(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site, viewport=PHONE)
    page = watched.page
    all_online(page)
    page.get_by_label("Select all agents that are shown").check()
    expect(page.locator("#selected")).to_have_text(f"{COUNT} selected")
    bar = page.locator("#selection").bounding_box()
    assert bar is not None
    assert bar["height"] < PHONE["height"] / 6
    watched.check("fleet-selected-phone")
    page.get_by_role("button", name="Hot cache off", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Hot cache off: {COUNT} agents")
    watched.check("confirm-many-phone")
    page.get_by_label("Reason").fill("deploy 42")
    page.get_by_role("button", name=f"Hot cache off: {COUNT} agents").click()
    expect(page.locator("#operation")).to_contain_text(f"{COUNT} of {COUNT} agents done")


def test_cancel__filtered_and_selected__is_as_it_was_also_after_a_reload(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site)
    page = watched.page
    watched.open("/dashboard/?engine=engine-1")
    page.get_by_label("Select worker-03").check()
    page.get_by_label("Select worker-05").check()
    page.get_by_role("button", name="Freeze", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Freeze: 2 agents")
    page.reload()
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("#selected")).to_have_text("2 selected")
    expect(page.get_by_label("Select worker-05")).to_be_checked()
    expect(page.get_by_label("Select worker-02")).to_have_count(0)
    assert watched.problems == []


def test_end_of_a_mode__is_past__is_said_as_far_as_it_is_known(
    browser: Browser, site: Site
) -> None:
    page = log_in(browser, site).page
    page.evaluate(
        """() => {
            for (const health of ["online", "offline"]) {
                const time = document.createElement("time");
                time.dateTime = new Date(Date.now() - 3_700_000).toISOString();
                time.dataset.ending = health;
                document.querySelector("main").append(time);
            }
        }"""
    )
    expect(page.locator("time[data-ending=online]")).to_have_text("ending")
    ended = page.locator("time[data-ending=offline]")
    expect(ended).to_have_text("should have ended 1 h ago")


def test_keyboard__through_a_long_table__focus_is_never_behind_the_bars(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site)
    page = watched.page
    page.get_by_label("Select worker-01").focus()
    free = """() => {
        const box = document.activeElement.getBoundingClientRect();
        const head = document.querySelector("#fleet thead th").getBoundingClientRect();
        const bar = document.getElementById("selection").getBoundingClientRect();
        const isInTable = document.activeElement.closest("tbody") !== null;
        return box.bottom <= bar.top && (!isInTable || box.top >= head.bottom);
    }"""
    for key in ("Tab", "Shift+Tab"):
        for _ in range(45):
            page.keyboard.press(key)
            page.wait_for_function(free, timeout=5_000)
        # Far down, and the head is still there.
        if key == "Tab":
            assert page.evaluate("scrollY") > 900
            expect(page.locator("#fleet thead th").nth(1)).to_be_in_viewport()
    assert watched.problems == []


def test_pages__names_as_long_as_can_be__nothing_is_wider_than_the_window(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site)
    page = watched.page
    all_online(page)
    page.get_by_label(f"Select {LONG}").check()
    confirm(page, "Unfreeze", "Unfreeze: 1 agent")
    expect(page.locator("#operation")).to_contain_text("1 of 1 agent done")
    paths = [
        page.url.removeprefix(site.url),
        "/dashboard/",
        f"/dashboard/fleet/confirm/?action=bypass.add&agent={LONG}&agent=worker-01",
        f"/dashboard/fleet/settings/?agent={LONG}&agent=worker-01"
        "&setting=min_retrieve_tokens&value=7",
        f"/dashboard/agents/{LONG}/",
        f"/dashboard/agents/{LONG}/edit/",
        f"/dashboard/revisions/?agent={LONG}",
        "/dashboard/operations/",
        f"/dashboard/statistics/?of=engine/{LONG_ENGINE}",
        f"/dashboard/statistics/?of=agent/{LONG}",
        f"/dashboard/audit/?agent={LONG}",
    ]
    wider = []
    for path in paths:
        watched.open(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            by = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if by > 0:
                wider.append((path, width, by))
    assert wider == []
    assert watched.problems == []
