"""The charts of the dashboard in a real browser, under its content security policy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.test_dashboard import LAPTOP, PHONE, USER, Site, log_in
from tests.support.chromium import FLAGS, chromium_path
from tests.support.controlplane import prepare, register
from tests.support.processes import clean_environment, free_ports, manage

pytestmark = pytest.mark.slow

COUNTS = """
from datetime import timedelta
from django.utils import timezone
from controlplane.audit.actors import ActorKind
from controlplane.modes.models import ModeChange
from controlplane.statistics.models import ChunkStatisticsSnapshot
now = timezone.now()
for minutes in range(300, 0, -5):
    n = 60 - minutes // 5
    if not 20 < n < 30:
        ChunkStatisticsSnapshot.objects.create(
            agent="scheduler", engine="e", taken_at=now - timedelta(minutes=minutes),
            reported_at=0, trigger="interval", run=1, enabled=True, total_requests=n,
            total_chunks=n * 10, unique_chunks=n * 4, duplicate_chunks=n * 6, reuse_rate=0.6)
ModeChange.objects.create(
    agent="scheduler", mode="bypass", backend="FSBackend", to_value=True, state="applied",
    source="change", request_id="r", actor_kind=ActorKind.COMMAND, actor_name="tests",
    actor_ref="command:tests", created_at=now - timedelta(minutes=200))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A control plane with an engine that was counted for five hours."""
    directory: Path = tmp_path_factory.mktemp("statistics")
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    port = free_ports(1)
    prepare(environment, USER, "viewer")
    register(
        environment,
        "scheduler",
        "http://127.0.0.1:9",
        engine="e",
        worker_id=None,
        token="agent-token-for-the-statistics-tests",
    )
    manage(environment, "shell", "-c", COUNTS)
    site = Site(f"http://127.0.0.1:{port}", directory, environment, [])
    with site.serving():
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_charts__light_and_dark_laptop_and_phone__nothing_wrong(
    browser: Browser, site: Site, scheme: str, viewport: dict[str, int]
) -> None:
    watched = log_in(browser, site, color_scheme=scheme, viewport=viewport)
    watched.open("/dashboard/statistics/")
    shown = watched.page.locator("figure.chart svg").locator("visible=true")
    expect(shown).to_have_count(2)
    # The lines have a colour although the SVG has no style of its own.
    line = shown.first.locator(".line.reactive").first
    assert line.evaluate("line => getComputedStyle(line).stroke") not in ("none", "rgb(0, 0, 0)")
    size = "phone" if viewport is PHONE else "laptop"
    watched.check(f"charts-{size}-{scheme}")


def test_charts__time_is_chosen__are_made_anew_and_stand_in_the_address(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site)
    page = watched.page
    watched.open("/dashboard/statistics/")
    page.get_by_label("The last").select_option("6 hours")
    expect(page.locator("#statistics")).to_contain_text("in steps of 300 s")
    assert "last=21600" in page.url
    mark = page.get_by_role("link", name="1 bypass FSBackend on")
    # The one of the table: those of the chart are for the mouse.
    expect(mark).to_have_count(1)
    mark.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("scheduler")
    assert watched.problems == []
