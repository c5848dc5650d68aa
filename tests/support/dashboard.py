"""The dashboard in a browser, over a control plane that can be stopped and started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.chromium import Troubles
from tests.support.controlplane import PASSWORD, serve_command
from tests.support.processes import running

USER = "anna"
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1440, "height": 900}


@dataclass
class Site:
    """A control plane that can be stopped and started, with agents behind it."""

    url: str
    directory: Path
    environment: dict[str, str]
    agent_urls: list[str]
    token: str = ""

    @contextmanager
    def serving(self) -> Iterator[Popen[bytes]]:
        """Serve it until the end of the block."""
        port = int(self.url.rpartition(":")[2])
        log = self.directory / "controlplane.log"
        with running(serve_command(port), self.environment, log, [f"{self.url}/health"]) as process:
            yield process

    def api(self, path: str) -> dict[str, object]:
        """What the API answers. Raises httpx.HTTPStatusError."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(f"{self.url}{path}", headers=headers, trust_env=False)
        answer.raise_for_status()
        document: dict[str, object] = answer.json()
        return document


@dataclass
class Watched:
    """A page that notes what goes wrong on it and what leaves the site."""

    page: Page
    url: str
    troubles: Troubles = field(init=False)

    def __post_init__(self) -> None:
        self.troubles = Troubles(self.url)
        self.troubles.watch(self.page)

    @property
    def problems(self) -> list[str]:
        """All that went wrong or left the site."""
        return [*self.troubles.errors, *self.troubles.outside]

    def open(self, path: str) -> None:
        """Load a page, and wait until it is live."""
        answer = self.page.goto(f"{self.url}{path}")
        assert answer is not None
        assert answer.status == 200
        expect(self.page.locator("#connection")).to_have_text("live")

    def check(self, name: str) -> None:
        """Nothing went wrong so far, and axe-core finds nothing; a picture if wanted."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()
        assert self.problems == []
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        if shots := os.environ.get("KVPLANE_SCREENSHOTS"):
            self.page.screenshot(path=f"{shots}/{name}.png")


def log_in(browser: Browser, site: Site, **options: object) -> Watched:
    """A window of its own, logged in, at the fleet."""
    page = browser.new_context(**{"viewport": LAPTOP, **options}).new_page()
    page.goto(f"{site.url}/dashboard/")
    page.fill("input[name=username]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url(f"{site.url}/dashboard/")
    watched = Watched(page, site.url)
    watched.open("/dashboard/")
    return watched


def row(page: Page, agent: str) -> Locator:
    """The row of an agent in the fleet's table."""
    return page.locator("#fleet tr").filter(has=page.get_by_role("link", name=agent, exact=True))


def remade(page: Page, part: str) -> None:
    """Have a part of the page made anew, and wait until it is."""
    page.evaluate("part => document.getElementById(part).dataset.old = ''", part)
    page.evaluate("part => htmx.trigger(document.getElementById(part), 'kvp:refresh')", part)
    expect(page.locator(f"#{part}:not([data-old])")).to_be_visible()
