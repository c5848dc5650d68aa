"""Pages that are open while things happen: what arrives, what stays where it is, and what the
page says when nothing can arrive."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

import httpx
import pytest
from playwright.sync_api import APIResponse, Browser, Locator, Page, Route, WebSocketRoute, expect

from tests.support import chromium
from tests.support.controlplane import prepare
from tests.support.dashboard import USER, Site, Watched, log_in, remade, row
from tests.support.processes import clean_environment, free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
AGENTS = "/api/v1/agents/"
SOON_MS = 4_000
SILENCE_MS = 25_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Agents are registered, and none of them runs: what changes is what the tests change."""
    directory = tmp_path_factory.mktemp("live")
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EVENTS_PATROL_SECONDS="0.5",
        KVPLANE_EVENTS_RECHECK_SECONDS="0.5",
    )
    site = Site(f"http://127.0.0.1:{free_ports(1)}", directory, environment, [])
    site.token = prepare(environment, USER, "admin")
    return site


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Popen[bytes]]:
    with site.serving() as process:
        yield process


@pytest.fixture(scope="module")
def api(site: Site, served: Popen[bytes]) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {site.token}"}
    with httpx.Client(base_url=site.url, headers=headers, trust_env=False) as client:
        register(client, "worker-0")
        register(client, "worker-1")
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


@pytest.fixture
def watched(browser: Browser, site: Site, api: httpx.Client) -> Iterator[Watched]:
    opened = log_in(browser, site)
    yield opened
    opened.page.context.close()


def register(api: httpx.Client, name: str) -> None:
    body = {"name": name, "engine": "e", "role": "worker", "worker_id": 0}
    api.post(AGENTS, json={**body, "url": f"http://{name}.test:1"}).raise_for_status()


def announced(page: Page) -> Locator:
    return page.locator("#announcement")


@contextmanager
def stopped(process: Popen[bytes]) -> Iterator[None]:
    """A control plane that neither answers nor closes a connection."""
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def test_events__one_after_the_other__each_is_shown_soon(
    watched: Watched, api: httpx.Client
) -> None:
    for name in ("late-0", "late-1", "late-2"):
        register(api, name)
        expect(row(watched.page, name)).to_be_visible(timeout=SOON_MS)
    assert watched.problems == []


def test_filter__used_while_the_table_is_fetched__is_what_the_table_shows(
    watched: Watched, api: httpx.Client
) -> None:
    page = watched.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    def is_held(count: int) -> bool:
        page.evaluate("null")
        return len(held) == count

    page.route(re.compile(r"/dashboard/(\?role=scheduler)?$"), hold)
    page.evaluate("htmx.trigger(document.getElementById('fleet'), 'kvp:refresh')")
    eventually(lambda: is_held(1))
    page.get_by_label("Role").select_option("scheduler")
    eventually(lambda: is_held(2))
    held[0].continue_()
    page.wait_for_function(
        "performance.getEntriesByType('resource').some((entry) => /dashboard\\/$/.test(entry.name))"
    )
    held[1].continue_()
    expect(page.get_by_role("heading", name="No agent fits")).to_be_visible()
    page.unroute_all()
    remade(page, "fleet")
    expect(page.get_by_role("heading", name="No agent fits")).to_be_visible()
    assert watched.problems == []


def test_filter__read_before_an_event_and_answered_after_it__the_table_is_asked_for_again(
    watched: Watched, api: httpx.Client
) -> None:
    page = watched.page
    held: list[tuple[Route, APIResponse]] = []

    def read_and_hold(route: Route) -> None:
        held.append((route, route.fetch()))

    def is_read() -> bool:
        page.evaluate("null")
        return len(held) == 1

    page.evaluate(
        """document.getElementById("fleet").addEventListener(
            "kvp:refresh", () => { document.body.dataset.dropped = ""; })"""
    )
    page.route(re.compile(r"/dashboard/\?role=worker$"), read_and_hold, times=1)
    page.get_by_label("Role").select_option("worker")
    eventually(is_read)
    register(api, "in-between")
    expect(page.locator("body[data-dropped]")).to_be_visible()
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(row(page, "in-between")).to_be_visible(timeout=SOON_MS)
    assert watched.problems == []


def test_filter__used__how_many_fit_is_announced(watched: Watched) -> None:
    page = watched.page
    region = page.locator("#shown[role=status]")
    expect(region).to_have_text("")
    page.get_by_label("Search").fill("worker-1")
    expect(region).to_contain_text("1 of ")
    expect(region).to_contain_text("agents shown")


def test_refresh__something_differs__the_rest_stays_as_it_is(
    watched: Watched, api: httpx.Client
) -> None:
    page = watched.page
    page.locator("#fleet .summary a").first.focus()
    page.evaluate(
        """() => {
            for (const row of document.querySelectorAll("#fleet tr")) row.seen = true;
            const name = document.getElementById("agent-worker-1").firstChild;
            getSelection().setBaseAndExtent(name, 0, name, name.length);
        }"""
    )
    # Sorts before all others.
    register(api, "another")
    expect(row(page, "another")).to_be_visible()
    unseen = "[...document.querySelectorAll('#fleet tr')].filter((row) => !row.seen).length"
    assert page.evaluate(unseen) == 1
    assert page.evaluate("getSelection().toString()") == "worker-1"
    assert page.evaluate("document.activeElement.matches('#fleet .summary a')")
    assert watched.problems == []


def test_agent__removed_while_its_page_is_open__the_page_says_so(
    watched: Watched, api: httpx.Client
) -> None:
    register(api, "gone")
    watched.open("/dashboard/agents/gone/")
    api.delete(f"{AGENTS}gone/").raise_for_status()
    expect(watched.page.locator("#agent")).to_contain_text("There is no agent 'gone'")
    assert only_of_the_browser(watched, "404")


def test_refresh__fails__is_said_until_it_comes(watched: Watched, api: httpx.Client) -> None:
    page = watched.page

    def fail_parts(route: Route) -> None:
        if route.request.headers.get("hx-request"):
            route.fulfill(status=503, headers={"X-Request-ID": "r-1"}, body="")
        else:
            route.continue_()

    page.route("**/dashboard/", fail_parts)
    register(api, "unseen")
    expect(announced(page)).to_contain_text("The control plane answered 503;")
    page.unroute("**/dashboard/")
    expect(announced(page)).to_be_hidden(timeout=SILENCE_MS)
    expect(row(page, "unseen")).to_be_visible()
    assert only_of_the_browser(watched, "503")


def test_filter__fails__is_said_and_chosen_again(watched: Watched) -> None:
    page = watched.page
    page.route(re.compile("role=scheduler$"), lambda route: route.abort())
    page.get_by_label("Role").select_option("scheduler")
    expect(announced(page)).to_contain_text("The control plane did not answer.")
    expect(announced(page)).to_contain_text("choose it again")
    page.unroute_all()
    page.get_by_label("Role").select_option("worker")
    page.wait_for_url("**/dashboard/?role=worker")
    expect(announced(page)).to_be_hidden()
    assert watched.problems == ["Failed to load resource: net::ERR_FAILED"]


def test_charts__first_load_fails__are_asked_for_again(watched: Watched, api: httpx.Client) -> None:
    page = watched.page
    page.route("**/charts/", lambda route: route.fulfill(status=503, body=""), times=1)
    watched.open("/dashboard/agents/worker-0/")
    expect(announced(page)).to_contain_text("it is asked again by itself")
    expect(page.locator("#agent-charts h2")).to_have_text("Charts", timeout=SILENCE_MS)
    expect(announced(page)).to_be_hidden()
    assert only_of_the_browser(watched, "503")


def test_entry__fails_and_another_is_opened__nothing_is_said_any_more(watched: Watched) -> None:
    watched.open("/dashboard/audit/")
    page = watched.page
    links = page.locator("#entries tbody th a")
    page.route(re.compile(r"/audit/\d+/$"), lambda route: route.abort(), times=1)
    links.nth(0).click()
    expect(announced(page)).to_contain_text("What you chose is not shown")
    links.nth(1).click()
    expect(page.locator("#entry-panel")).not_to_be_empty()
    expect(announced(page)).to_be_hidden()


def test_filter__fails_and_the_table_is_made_anew__is_still_said(
    watched: Watched, api: httpx.Client
) -> None:
    page = watched.page
    page.route(re.compile("role=scheduler$"), lambda route: route.abort())
    page.get_by_label("Role").select_option("scheduler")
    expect(announced(page)).to_contain_text("What you chose is not shown")
    register(api, "after-the-filter")
    expect(row(page, "after-the-filter")).to_be_visible(timeout=SOON_MS)
    expect(announced(page)).to_contain_text("What you chose is not shown")


def only_of_the_browser(watched: Watched, status: str) -> bool:
    """Nothing went wrong but the answer that the browser itself tells of."""
    line = f"Failed to load resource: the server responded with a status of {status}"
    return all(problem.startswith(line) for problem in watched.problems)


def test_connection__nothing_comes_any_more__is_said_and_mended(
    watched: Watched, served: Popen[bytes], api: httpx.Client
) -> None:
    page = watched.page
    with stopped(served):
        expect(page.locator("#connection")).to_have_text("connection lost", timeout=SILENCE_MS)
        expect(announced(page)).to_contain_text("Connection lost")
    expect(announced(page)).to_contain_text("What you see is up to date", timeout=SILENCE_MS)
    expect(page.locator("#connection")).to_have_text("live")


def test_connection__browser_is_offline__is_said_at_once_and_mended(
    watched: Watched, api: httpx.Client
) -> None:
    page = watched.page
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_text("connection lost", timeout=SOON_MS)
    register(api, "meanwhile")
    page.context.set_offline(False)
    expect(announced(page)).to_contain_text("What you see is up to date", timeout=SILENCE_MS)
    assert row(page, "meanwhile").count() == 1


def test_connection__session_ends__leads_to_the_login(watched: Watched) -> None:
    page = watched.page
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Log out").click()
    expect(page.locator("#connection")).to_have_text("logged out")
    page.get_by_role("link", name="Load the page again to log in").click()
    expect(page.locator("input[name=username]")).to_be_visible()


def test_connection__refused_for_good__says_why_and_does_not_try_again(watched: Watched) -> None:
    page = watched.page
    tries: list[int] = []

    def refuse(socket: WebSocketRoute) -> None:
        tries.append(1)
        socket.close(code=4403, reason="This needs the role 'viewer'.")

    page.route_web_socket("**/ws/events/*", refuse)
    page.goto(f"{watched.url}/dashboard/")
    expect(announced(page)).to_contain_text("This needs the role 'viewer'.")
    expect(page.get_by_role("link", name="Load the page again")).to_be_visible()
    expect(page.locator("#connection")).to_have_text("not live")
    assert len(tries) == 1


def test_connection__no_websocket_gets_through__the_page_asks(
    watched: Watched, api: httpx.Client
) -> None:
    page = watched.page
    page.route_web_socket("**/ws/events/*", lambda socket: socket.close())
    page.goto(f"{watched.url}/dashboard/")
    register(api, "polled")
    expect(page.locator("#connection")).to_have_text("asks every 15 s", timeout=SILENCE_MS)
    expect(announced(page)).to_contain_text("lets no WebSockets through")
    expect(row(page, "polled")).to_be_visible()


def test_audit__something_happens__the_list_waits_for_its_reader(
    watched: Watched, api: httpx.Client
) -> None:
    watched.open("/dashboard/audit/")
    page = watched.page
    links = page.locator("#entries tbody th a")
    first = links.first.inner_text()
    links.nth(1).click()
    expect(page.locator("#entry-panel")).to_be_focused()
    opened = page.locator("#entries tr[aria-current=true] th").inner_text()

    register(api, "news-0")
    button = page.get_by_role("button", name="new entr")
    expect(button).to_have_text("Show 1 new entry")
    expect(links.first).to_have_text(first)
    button.click()
    expect(links.first).not_to_have_text(first)
    expect(button).to_be_hidden()
    expect(page.locator("#entries tr[aria-current=true] th")).to_have_text(opened)

    page.keyboard.press("Escape")
    expect(page.locator("#entry-panel")).to_be_empty()
    expect(page.locator(f"#entry-{opened}")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(f"#entry-{opened}")).to_be_focused()
    expect(page.locator("#entries tr[aria-current]")).to_have_count(0)
    assert watched.problems == []


def test_audit__page_asks__only_the_newest_entries_offer_news(watched: Watched) -> None:
    page = watched.page
    page.route_web_socket("**/ws/events/*", lambda socket: socket.close())
    offer = page.get_by_role("button", name="Look for new entries")
    page.goto(f"{watched.url}/dashboard/audit/?page_size=1")
    expect(page.locator("#connection")).to_have_text("asks every 15 s", timeout=SILENCE_MS)
    expect(offer).to_be_visible()
    page.get_by_role("link", name="older →").first.click()
    page.wait_for_url("**/dashboard/audit/?*cursor=*")
    expect(page.locator("#connection")).to_have_text("asks every 15 s", timeout=SILENCE_MS)
    expect(offer).to_have_count(0)


def test_times__clock_of_the_browser_jumps__a_refresh_puts_it_right(
    watched: Watched, api: httpx.Client
) -> None:
    asked = {"action": "freeze.enable", "selector": {"agents": ["worker-0"]}, "reason": "x"}
    operation = api.post("/api/v1/operations/", json=asked).raise_for_status().json()["id"]
    # Until then its events would have the page refreshed.
    eventually(lambda: api.get(f"/api/v1/operations/{operation}/").json()["finished_at"])
    watched.open("/dashboard/operations/")
    page = watched.page
    age = page.locator("#operations time").first
    expect(age).to_contain_text(" s ago")
    page.evaluate("() => { const now = Date.now; Date.now = () => now() - 7200000; }")
    expect(age).to_have_text("in 1 h")
    remade(page, "operations")
    expect(age).to_contain_text(" s ago")


def test_merge__any_part_into_any_other__is_what_was_fetched_and_keeps_what_has_a_key(
    watched: Watched,
) -> None:
    wrong = watched.page.evaluate(
        """() => {
            let seed = 1;
            const below = (most) => (seed = (seed * 48271) % 2147483647) % most;
            const pick = (...all) => all[below(all.length)];
            const place = document.createElement("div");
            document.body.append(place);
            function items(depth) {
                const keys = ["a", "b", "c", "d", "e"].sort(() => below(3) - 1);
                return Array.from({ length: below(6) }, () => {
                    const inside = depth ? items(depth - 1) : pick("x", "y", "");
                    const tag = pick("div", "span", "em");
                    const key = pick(true, false) ? ` data-key="${keys.pop()}"` : "";
                    const title = pick("", ' title="t"', ' title="u"');
                    return pick(`text ${below(9)}`, `<${tag}${key}${title}>${inside}</${tag}>`);
                }).join(pick("", "\\n"));
            }
            const part = () => `<section id="merged">${items(2)}</section>`;
            const wrong = [];
            for (let round = 0; round < 500; round += 1) {
                const [old, fresh] = [part(), part()];
                place.innerHTML = old;
                const kept = new Map();
                for (const node of place.querySelectorAll("#merged > [data-key]")) {
                    kept.set(node.nodeName + node.dataset.key, node);
                }
                const target = place.firstChild;
                const how = { swapStyle: "merge", settleDelay: 0 };
                const eventInfo = { target, requestConfig: { elt: target } };
                htmx.swap(target, fresh, how, { contextElement: target, eventInfo });
                const merged = place.innerHTML.replaceAll(' class=""', "");
                const wanted = document.createElement("div");
                wanted.innerHTML = fresh;
                const isKept = [...target.querySelectorAll(":scope > [data-key]")].every((node) => {
                    const before = kept.get(node.nodeName + node.dataset.key);
                    return before === undefined || before === node;
                });
                if (merged !== wanted.innerHTML || !isKept) wrong.push([old, fresh, merged]);
            }
            return wrong.slice(0, 3);
        }"""
    )
    assert wrong == []
    assert watched.problems == []
