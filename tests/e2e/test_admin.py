"""The admin in a real browser over real agents: what a person clicks is done, once, for
a reason, and is found on record."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.support.admin_site import USER, Browser, Site, browsing, running_site

pytestmark = pytest.mark.slow
AGENTS = "/admin/fleet/agent/"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def logged_in(site: Site) -> Iterator[Browser]:
    with browsing(site) as browser:
        yield browser


@pytest.fixture
def browser(logged_in: Browser) -> Iterator[Browser]:
    yield logged_in
    logged_in.check()


def open_agent(browser: Browser, name: str) -> None:
    browser.page.goto(f"{browser.site.url}{AGENTS}named/{name}/")
    browser.page.wait_for_selector("text=Everything about this agent")


def confirm(browser: Browser, reason: str) -> None:
    browser.page.fill("input[name=reason]", reason)
    browser.page.click("button[name=confirm]")


def test_freeze__two_agents_selected__outcome_and_audit_entries(
    browser: Browser, site: Site
) -> None:
    page = browser.page
    page.goto(f"{site.url}{AGENTS}")
    for name in ("worker-0", "worker-1"):
        page.check(f"tr:has(a:text-is('{name}')) input.action-select")
    browser.shoot("agents")
    page.select_option("select[name=action]", "freeze")
    page.click("button[name=index]")
    page.wait_for_selector("text=Freeze: 2 agents")
    browser.shoot("confirm-freeze")
    page.click("button[name=confirm]")
    page.wait_for_selector("text=Say why: the reason is kept in the audit log.")
    browser.shoot("confirm-freeze-no-reason")
    assert site.status("worker-0")["freeze"] is False

    page.select_option("select[name=ends]", "3600")
    confirm(browser, "Wartung, ünïcode")

    page.wait_for_selector("text=worker-0: succeeded; worker-1: succeeded")
    browser.shoot("operation")
    assert [site.status(f"worker-{number}")["freeze"] for number in (0, 1)] == [True, True]
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    modes = site.api("/api/v1/modes/", mode="freeze")["results"]
    for mode in modes:
        ends = datetime.fromisoformat(str(mode["expires_at"]))
        assert abs(ends - in_an_hour) < timedelta(minutes=2)
    assert len(modes) == 2

    page.click("ul.object-tools >> text=Audit entries")
    page.wait_for_selector("#result_list")
    browser.shoot("audit-of-operation")
    expect(page.locator("#result_list tbody tr")).to_contain_text(["Wartung, ünïcode"] * 4)
    page.click("#result_list tbody tr:last-child th a")
    page.wait_for_selector("text=Place in the chain")
    browser.shoot("audit-entry")
    page.click("ul.object-tools >> text=Everything in this request")
    expect(page.locator("#result_list tbody tr")).to_have_count(4)


def test_unfreeze__button_on_the_agents_page__is_done(browser: Browser, site: Site) -> None:
    open_agent(browser, "worker-0")
    browser.shoot("agent")
    browser.page.click("[data-tool=unfreeze]")
    confirm(browser, "maintenance is over")
    browser.page.wait_for_selector("text=worker-0: succeeded")

    assert site.status("worker-0")["freeze"] is False


def test_bypass__and_its_end__reach_the_agent(browser: Browser, site: Site) -> None:
    open_agent(browser, "worker-1")
    browser.page.click("[data-tool=bypass]")
    browser.page.fill("input[name=backend]", "LocalDiskBackend")
    browser.shoot("confirm-bypass")
    confirm(browser, "disk is failing")
    browser.page.wait_for_selector("text=worker-1: succeeded")
    assert site.status("worker-1")["bypassed_backends"] == ["LocalDiskBackend"]

    open_agent(browser, "worker-1")
    expect(browser.page.locator(".kvp-facts")).to_contain_text("bypasses LocalDiskBackend")
    browser.shoot("agent-bypassed")
    browser.page.click("[data-tool=end_bypass]")
    browser.page.fill("input[name=backend]", "LocalDiskBackend")
    confirm(browser, "disk was replaced")
    browser.page.wait_for_selector("text=worker-1: succeeded")
    assert site.status("worker-1")["bypassed_backends"] == []


def test_hot_cache__off_and_on__reach_the_agent(browser: Browser, site: Site) -> None:
    for tool, expected in (("hot_cache_off", False), ("hot_cache_on", True)):
        open_agent(browser, "worker-1")
        browser.page.click(f"[data-tool={tool}]")
        confirm(browser, "memory is short")
        browser.page.wait_for_selector("text=worker-1: succeeded")
        assert site.status("worker-1")["hot_cache"] is expected


def test_probe__everybody__shows_what_they_say(browser: Browser, site: Site) -> None:
    page = browser.page
    page.goto(f"{site.url}{AGENTS}")
    page.check("#action-toggle")
    page.select_option("select[name=action]", "probe")
    page.click("button[name=index]")
    confirm(browser, "is everybody well?")
    page.wait_for_selector("text=3 answered")
    browser.shoot("probed")
    assert site.status("worker-0")["boot_id"] in page.content()
    assert {entry["agent"] for entry in site.audit(action="agent.probe")} == {
        "scheduler",
        "worker-0",
        "worker-1",
    }


def test_calls__change_and_read__answers_are_shown(browser: Browser, site: Site) -> None:
    page = browser.page
    open_agent(browser, "worker-0")
    page.click("ul.object-tools >> text=Calls")
    page.wait_for_selector("text=Every documented endpoint")
    browser.shoot("calls")
    for value in ("64", "512"):
        page.goto(f"{site.url}{AGENTS}named/worker-0/")
        page.click("ul.object-tools >> text=Calls")
        page.click("#update_conf > summary")
        form = page.locator("form[data-call=update_conf]")
        form.locator("textarea[name=body]").fill(f'{{"min_retrieve_tokens": {value}}}')
        form.locator("input[name=reason]").fill(f"try {value}")
        browser.shoot("calls-open")
        form.locator("button").click()
        page.wait_for_selector("text=worker-0 answered 200")
        browser.shoot("call-change")
        expect(page.locator(".kvp-answer pre")).to_contain_text(f'"min_retrieve_tokens": {value}')
    (completed, requested) = site.audit(action="conf.update", agent="worker-0")[:2]
    assert (completed["stage"], requested["stage"]) == ("completed", "requested")
    assert (completed["reason"], completed["actor_name"]) == ("try 512", USER)

    page.click("text=All calls")
    page.click("#get_conf > summary")
    form = page.locator("form[data-call=get_conf]")
    form.locator("input[name=names]").fill("min_retrieve_tokens")
    form.locator("button").click()
    page.wait_for_selector("text=worker-0 answered 200")
    expect(page.locator(".kvp-answer pre")).to_contain_text('"min_retrieve_tokens": 512')


def test_rollback__of_a_revision__gives_the_old_value_back(browser: Browser, site: Site) -> None:
    page = browser.page
    open_agent(browser, "worker-0")
    page.click(".kvp-places >> text=Revisions")
    page.wait_for_selector("#result_list")
    browser.shoot("revisions")
    page.click("#result_list tbody tr:nth-child(2) th a")
    page.wait_for_selector("text=What changed")
    browser.shoot("revision")
    page.click("[data-tool=roll_back]")
    page.wait_for_selector("text=What changes")
    browser.shoot("confirm-rollback")
    confirm(browser, "512 was worse")
    page.wait_for_selector("text=worker-0: succeeded")

    conf = site.api("/agents/worker-0/conf", names="min_retrieve_tokens")
    assert conf == {"min_retrieve_tokens": 64}
    newest = site.api("/api/v1/config-revisions/", agent="worker-0")["results"][0]
    assert (newest["source"], newest["reason"]) == ("rollback", "512 was worse")


def test_rollback__of_an_operation__each_agent_is_as_before(browser: Browser, site: Site) -> None:
    page = browser.page
    page.goto(f"{site.url}{AGENTS}")
    for name in ("worker-0", "worker-1"):
        page.check(f"tr:has(a:text-is('{name}')) input.action-select")
    page.select_option("select[name=action]", "hot_cache_off")
    page.click("button[name=index]")
    confirm(browser, "try without")
    page.wait_for_selector("text=worker-0: succeeded; worker-1: succeeded")

    page.click("[data-tool=roll_back]")
    page.wait_for_selector("text=On worker-1, worker-0.")
    browser.shoot("confirm-operation-rollback")
    confirm(browser, "slower")

    page.wait_for_selector("text=Taken back on 2 agents.")
    browser.shoot("operation-rolled-back")
    assert [site.status(f"worker-{number}")["hot_cache"] for number in (0, 1)] == [True, True]


def test_chain__verify_now__the_badge_says_unbroken(browser: Browser, site: Site) -> None:
    page = browser.page
    page.goto(f"{site.url}/admin/")
    browser.shoot("index")
    page.click("text=Verify now")
    page.wait_for_selector("text=The chain is unbroken.")
    browser.shoot("audit")
    page.goto(f"{site.url}/admin/")
    expect(page.locator(".kvp-chain")).to_contain_text("The chain is unbroken.")
    browser.shoot("index-verified")
    page.emulate_media(color_scheme="dark")
    browser.shoot("index-dark")
    open_agent(browser, "worker-0")
    browser.shoot("agent-dark")
    page.goto(f"{site.url}/admin/audit/auditentry/")
    browser.shoot("audit-dark")


@pytest.mark.parametrize(
    "path",
    [
        "accounts/user/",
        "accounts/apitoken/",
        "audit/auditentry/",
        "audit/forwardingcursor/",
        "configuration/configrevision/",
        "configuration/configschema/",
        "fleet/agent/",
        "fleet/engine/",
        "fleet/enrolmenttoken/",
        "modes/desiredmode/",
        "modes/modechange/",
        "operations/operation/",
        "operations/operationtarget/",
        "reconcile/controller/",
        "reconcile/watch/",
        "statistics/chunkstatisticssnapshot/",
        "statistics/tierstatisticssnapshot/",
    ],
)
def test_list__and_the_page_of_its_first_row__open(browser: Browser, site: Site, path: str) -> None:
    page = browser.page
    answer = page.goto(f"{site.url}/admin/{path}")
    assert answer is not None
    assert answer.status == 200
    name = path.strip("/").replace("/", "-")
    browser.shoot(f"list-{name}")
    first = page.locator(f"#result_list tbody tr:first-child a[href*='/{path}']").first
    if first.count():
        first.click()
        page.wait_for_selector("#content-main")
        browser.shoot(f"page-{name}")
