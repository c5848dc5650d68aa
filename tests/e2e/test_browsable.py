"""The browsable API as a person uses it who has not read the documentation: from the
start page by its links and forms, in a real browser, with real agents."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.chromium import Troubles, browser
from tests.support.controlplane import PASSWORD, prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

USER = "anna"
AGENT_TOKEN = "agent-token-for-the-browsable-api"
AGENTS = {"w": "e", "v": "f"}
PHONE = {"width": 390, "height": 800}


@dataclass(frozen=True)
class Site:
    """A control plane with two workers of two engines behind it."""

    url: str
    token: str

    def api(self) -> httpx.Client:
        """A program that calls it."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    port = free_ports(5)
    url = f"http://127.0.0.1:{port}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    token = prepare(environment, USER, "admin")
    with ExitStack() as processes:
        for number, (name, engine) in enumerate(AGENTS.items()):
            start_worker(processes, directory, environment, port + 1 + 2 * number, name, engine)
        processes.enter_context(
            running(serve_command(port), environment, directory / "cp.log", [f"{url}/health"])
        )
        yield Site(url, token)


def start_worker(
    processes: ExitStack,
    directory: Path,
    environment: dict[str, str],
    port: int,
    name: str,
    engine: str,
) -> None:
    """A real agent, registered: the worker at the port above that."""
    url = f"http://127.0.0.1:{port + 1}"
    register(environment, name, url, engine=engine, worker_id=0, token=AGENT_TOKEN)
    settings = clean_environment(
        KVPLANE_AGENT_TOKEN=AGENT_TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
        KVPLANE_SERVE_SCHEDULER="false",
        KVPLANE_NUM_LAYERS="2",
        KVPLANE_NUM_BLOCKS="16",
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.1",
    )
    command = [sys.executable, "-m", "engine"]
    processes.enter_context(
        running(command, settings, directory / f"{name}.log", [f"{url}/health"])
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def person(chromium: Browser, site: Site) -> Iterator[Page]:
    """A logged-in person on the start page. At the end nothing may have gone wrong."""
    context = chromium.new_context()
    context.set_default_timeout(20_000)
    page = context.new_page()
    log_in(page, site)
    troubles = Troubles(site.url)
    troubles.watch(page)
    yield page
    context.close()
    assert (troubles.errors, troubles.outside) == ([], [])


def log_in(page: Page, site: Site, path: str = "/api/v1/") -> None:
    page.goto(site.url + path)
    page.click(".kvp-problem a:has-text('Log in')")
    page.fill("input[name=username]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url(site.url + path)


def send(form: Locator) -> Locator:
    """Send a form of a call; its answer, which has the focus."""
    form.get_by_role("button", name="Send").click()
    answer = form.locator(".kvp-answer.kvp-good, .kvp-answer.kvp-bad")
    answer.wait_for()
    assert answer.evaluate("answer => answer.matches(':focus')")
    return answer


def test_person__starts_at_the_start_page__freezes_and_finds_who_did_it_and_why(
    person: Page, site: Site
) -> None:
    person.get_by_role("link", name="w", exact=True).click()
    person.get_by_role("link", name="PUT /freeze/enable").click()
    form = person.locator("form[data-call-method=PUT]")
    form.get_by_label("reason").fill("Wartung, ünïcode")
    form.get_by_label("expires in (seconds)").fill("1200")
    answer = send(form)

    assert answer.locator("h3").inner_text() == (
        "Succeeded: PUT /agents/w/freeze/enable answered 200 (OK)"
    )
    answer.get_by_role("link", name="The operation").click()
    cells = person.locator("tbody tr").get_by_role("cell")
    expect(cells).to_contain_text(["", "freeze.enable", "succeeded"])

    person.get_by_role("link", name="Audit entries of the operation").click()
    rows = person.locator("tbody tr")
    expect(rows).to_contain_text(["completed", "requested"])
    expect(rows).to_contain_text(["Wartung, ünïcode"] * 2)

    rows.first.get_by_role("link", name="w", exact=True).click()
    person.get_by_role("link", name="Modes as they should be").click()
    row = person.locator("tbody tr", has_text="freeze").inner_text().split("\t")
    assert row[6] != "-"


def test_person__changes_the_configuration__compares_it_and_rolls_it_back(
    person: Page, site: Site
) -> None:
    person.get_by_role("link", name="w", exact=True).click()
    person.get_by_role("link", name="POST /conf", exact=True).click()
    form = person.locator("form[data-call-method=POST]")
    form.get_by_role("button", name="Fill in: the documented example").click()
    form.get_by_label("reason").fill("longer prefixes only")
    answer = send(form)
    assert "answered 200" in answer.locator("h3").inner_text()

    answer.get_by_role("link", name="Revision").click()
    person.locator("tbody a").first.click()
    changed = person.url
    person.get_by_role("link", name="Diff", exact=True).click()
    expect(person.locator("pre").first).to_contain_text('"to": 512')

    person.goto(changed)
    person.get_by_role("link", name="Its parent").click()
    person.locator("tbody a").first.click()
    first = person.url
    person.get_by_role("link", name="Rollback preview").click()
    expect(person.locator("pre").first).to_contain_text('"to": 0')

    person.goto(first)
    person.get_by_role("link", name="Rollback", exact=True).click()
    form = person.locator("form[data-call-method=POST]")
    form.get_by_label("reason").fill("it was slower")
    answer = send(form)
    assert '"restored_from": 1' in answer.locator("pre").inner_text()
    with site.api() as api:
        assert api.get("/agents/w/conf?names=min_retrieve_tokens").json() == {
            "min_retrieve_tokens": 0
        }


def test_person__makes_an_operation_by_its_form__watches_it_succeed_on_both_agents(
    person: Page, site: Site
) -> None:
    person.get_by_role("link", name="operation", exact=True).click()
    form = person.locator("form[data-call-method=POST]")
    form.get_by_label("Fill in an example").select_option(
        label="freeze.disable: Disable freeze mode"
    )
    expect(form.get_by_label("engines")).to_have_value("e")
    form.get_by_label("engines").fill("")
    for name in AGENTS:
        form.get_by_role("button", name=name, exact=True).click()
    form.get_by_label("reason").fill("the deploy is over")
    form.get_by_text("Write the body as JSON instead").click()
    expect(form.locator("[data-body]")).to_have_value(re.compile('"canary": 1'))
    answer = send(form)
    answer.get_by_role("link", name="The operation").click()

    targets = person.get_by_role("region", name="Agents").get_by_role("listitem")

    def have_both_succeeded() -> bool:
        person.reload()
        return sorted(targets.all_inner_texts()) == ["v succeeded", "w succeeded"]

    eventually(have_both_succeeded)


def test_person__makes_a_token__sees_it_once_and_revokes_it(person: Page, site: Site) -> None:
    person.goto(f"{site.url}/api/v1/tokens/#post")
    form = person.locator("form[data-call-method=POST]")
    form.get_by_label("name", exact=False).first.fill("grafana")
    form.get_by_label("role").select_option("viewer")
    answer = send(form)
    assert '"token": "kvp_' in answer.locator("pre").inner_text()

    answer.get_by_role("link", name="What was made").click()
    person.get_by_text("Revoke a token").click()
    assert "answered 204" in send(person.locator("form[data-call-method=DELETE]")).inner_text()
    person.reload()
    expect(person.locator("pre").first).not_to_contain_text('"revoked_at": null')


def test_person__changes_part_of_an_agent__sends_no_more_than_that(
    person: Page, site: Site
) -> None:
    person.goto(f"{site.url}/api/v1/agents/v/#patch")
    form = person.locator("form[data-call-method=PATCH]")
    form.get_by_label("labels").fill('{"zone": "a"}')
    with person.expect_request("**/api/v1/agents/v/") as sent:
        send(form)

    assert sent.value.post_data_json == {"labels": {"zone": "a"}}

    person.reload()
    form.get_by_label("labels").fill("")
    send(form)
    with site.api() as api:
        assert api.get("/api/v1/agents/v/").json()["labels"] == {}


def test_person__types_what_is_no_json__is_told_and_nothing_is_sent(
    person: Page, site: Site
) -> None:
    person.goto(f"{site.url}/api/v1/agents/v/#patch")
    form = person.locator("form[data-call-method=PATCH]")
    form.get_by_label("labels").fill("zone: a")
    form.get_by_role("button", name="Send").click()

    expect(form.locator(".kvp-answer h3")).to_have_text("Not sent")
    expect(form.locator(".kvp-answer")).to_contain_text("'labels' is not JSON")


def test_person__filters_a_list__sees_what_is_left(person: Page, site: Site) -> None:
    person.get_by_role("link", name="agents", exact=True).first.click()
    person.get_by_text("Filter and order this list").click()
    person.get_by_label("engine", exact=True).fill("f")
    person.get_by_role("button", name="Filter").click()

    expect(person.locator("tbody tr")).to_have_count(1)
    expect(person.locator("main")).to_contain_text("engine=f")
    person.get_by_role("link", name="Show everything").first.click()
    expect(person.locator("tbody tr")).to_have_count(len(AGENTS))


def test_call__refused__says_what_is_wrong_and_what_to_do(chromium: Browser, site: Site) -> None:
    page = chromium.new_page()
    log_in(page, site, "/agents/w/conf")
    form = page.locator("form[data-call-method=POST]")
    form.get_by_label("expected revision").fill("77")
    form.get_by_label("Body (JSON)").fill('{"min_retrieve_tokens": 1}')
    answer = send(form)

    assert "answered 409" in answer.locator("h3").inner_text()
    assert "Look at how things are now" in answer.locator("p").inner_text()
    expect(answer.get_by_role("link", name="Audit entries of this request")).to_be_visible()
    page.close()


def test_call__partly_refused__says_what_is_set_all_the_same(chromium: Browser, site: Site) -> None:
    page = chromium.new_page()
    log_in(page, site, "/agents/v/conf")
    form = page.locator("form[data-call-method=POST]")
    form.get_by_label("Body (JSON)").fill('{"min_retrieve_tokens": 1, "chunk_size": 1}')
    answer = send(form)

    assert answer.locator("h3").inner_text().startswith("Partly refused:")
    assert "'updated' is set" in answer.locator("p").inner_text()
    page.close()


def test_pages__without_javascript__read_and_say_what_needs_it(
    chromium: Browser, site: Site
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, site, "/agents/w/cache/kvcache/check")
    page.get_by_label("slot_mapping").fill("0,1,2,3")
    page.get_by_label("chunk_size").fill("2")
    page.get_by_role("button", name="Send GET").click()
    expect(page.locator(".kvp-result pre")).to_contain_text('"num_chunks": 2')

    page.goto(f"{site.url}/agents/w/freeze/enable")
    expect(page.get_by_role("button", name="Send PUT")).to_be_disabled()
    # The text of <noscript> counts only where it is shown.
    expect(page.locator("form.kvp-call")).to_contain_text(
        "Sending this needs JavaScript.", use_inner_text=True
    )
    context.close()


PAGES = [
    "/api/v1/",
    "/api/v1/agents/",
    "/api/v1/agents/w/",
    "/api/v1/operations/#post",
    "/api/v1/audit/#filters",
    "/api/v1/config-revisions/",
    "/api/v1/chunk-statistics/series",
    "/api/v1/tier-statistics/series",
    "/api/v1/users/#post",
    "/agents/w/conf",
    "/agents/w/cache/kvcache/info",
    "/freeze/enable",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages__on_a_phone__fit_and_every_field_has_a_name(
    chromium: Browser, site: Site, scheme: str
) -> None:
    context = chromium.new_context(viewport=PHONE, color_scheme=scheme)
    page = context.new_page()
    log_in(page, site)
    troubles = Troubles(site.url)
    troubles.watch(page)
    for path in PAGES:
        page.goto(site.url + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        for control in page.locator("form.kvp-call :is(input, select, textarea)").all():
            assert control.evaluate("control => control.labels.length === 1"), path
    context.close()
    assert (troubles.errors, troubles.outside) == ([], [])
