"""The charts of the dashboard in a real browser, under its content security policy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.chromium import FLAGS, chromium_path
from tests.support.controlplane import prepare, register
from tests.support.dashboard import LAPTOP, PHONE, USER, Site, log_in, remade
from tests.support.processes import clean_environment, free_ports, manage

pytestmark = pytest.mark.slow

COUNTS = """
from datetime import timedelta
from django.utils import timezone
from controlplane.audit.actors import ActorKind
from controlplane.modes.models import ModeChange
from controlplane.statistics.models import ChunkStatisticsSnapshot, TierStatisticsSnapshot
MIB = 1 << 20
now = timezone.now()
for minutes in range(300, 0, -5):
    n = 60 - minutes // 5
    if not 20 < n < 30:
        ChunkStatisticsSnapshot.objects.create(
            agent="scheduler", engine="e", taken_at=now - timedelta(minutes=minutes),
            reported_at=0, trigger="interval", run=1, enabled=True, total_requests=n,
            total_chunks=n * 10, unique_chunks=n * 4, duplicate_chunks=n * 6, reuse_rate=0.6)
        # The tiers of a worker that was started anew in between; memory is asked first.
        told = n if n < 45 else n - 45
        tiers = {
            "LocalCPUBackend": (1000 * told, 600 * told + told * told, 40 + n, 512 * MIB),
            "LocalDiskBackend": (400 * told - told * told, 120 * told, 3 * n, 2048 * MIB),
            "RemoteBackend": (200 * told, 20 * told + told % 7, 4 * n, 0),
        }
        TierStatisticsSnapshot.objects.create(
            agent="worker", engine="e", taken_at=now - timedelta(minutes=minutes),
            trigger="interval", boot_id=f"boot-{n < 45}", run=1 if n < 45 else 2,
            requested_tokens=1000 * told, retrieved_tokens=800 * told, stored_tokens=300 * told,
            tiers={
                name: {"looked_up_tokens": asked, "hit_tokens": min(hit, asked), "chunks": chunks,
                       "used_bytes": 4 * chunks * MIB, "capacity_bytes": capacity}
                for name, (asked, hit, chunks, capacity) in tiers.items()
            })
for agent, minutes in (("scheduler", 200), ("worker", 230)):
    ModeChange.objects.create(
        agent=agent, mode="bypass", backend="FSBackend", to_value=True, state="applied",
        source="change", request_id="r", actor_kind=ActorKind.COMMAND, actor_name="tests",
        actor_ref="command:tests", created_at=now - timedelta(minutes=minutes))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A control plane with an engine that was counted for five hours, and one of whose workers
    said nothing."""
    directory: Path = tmp_path_factory.mktemp("statistics")
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    port = free_ports(1)
    prepare(environment, USER, "viewer")
    for name, worker_id in (("scheduler", None), ("worker", 0), ("silent", 1)):
        register(
            environment,
            name,
            f"http://127.0.0.1:{9 + (worker_id or 0) + (worker_id is None)}",
            engine="e",
            worker_id=worker_id,
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
    expect(shown).to_have_count(3)
    # The lines have a colour although the SVG has no style of its own.
    line = shown.first.locator(".line.reactive").first
    assert line.evaluate("line => getComputedStyle(line).stroke") not in ("none", "rgb(0, 0, 0)")
    size = "phone" if viewport is PHONE else "laptop"
    watched.check(f"charts-{size}-{scheme}")
    watched.page.get_by_text("The numbers of the charts").click()
    expect(watched.page.locator("#numbers table")).to_be_visible()
    watched.check(f"charts-numbers-{size}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_agent_charts__light_and_dark_laptop_and_phone__nothing_wrong(
    browser: Browser, site: Site, scheme: str, viewport: dict[str, int]
) -> None:
    watched = log_in(browser, site, color_scheme=scheme, viewport=viewport)
    size = "phone" if viewport is PHONE else "laptop"
    for agent, charts in (("worker", 3), ("scheduler", 2), ("silent", 0)):
        watched.open(f"/dashboard/agents/{agent}/")
        expect(watched.page.locator("#agent-charts h2")).to_have_text("Charts")
        shown = watched.page.locator("#agent-charts figure svg").locator("visible=true")
        expect(shown).to_have_count(charts)
        watched.check(f"agent-charts-{agent}-{size}-{scheme}")
    watched.open("/dashboard/agents/worker/charts/?last=86400")
    watched.page.get_by_text("The numbers of the charts").click()
    watched.check(f"agent-charts-numbers-{size}-{scheme}")


def test_agent_charts__page_around_them_is_made_anew__stay_as_they_are(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site)
    page = watched.page
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(site.url)))
    watched.open("/dashboard/agents/worker/")
    page.get_by_role("link", name="1 hour").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#agent-charts")).to_contain_text("in steps of 120 s")
    assert page.evaluate("document.activeElement.id") == "last-3600"
    page.get_by_text("The numbers of the charts").click()
    remade(page, "agent")
    expect(page.locator("#agent-charts")).to_contain_text("in steps of 120 s")
    expect(page.locator("#numbers table")).to_be_visible()
    # And made anew themselves, without the page around them.
    remade(page, "agent-charts")
    expect(page.locator("#agent-charts")).to_contain_text("in steps of 120 s")
    expect(page.locator("#numbers table")).to_be_visible()
    charts, page_itself = "/dashboard/agents/worker/charts/", "/dashboard/agents/worker/"
    hour = f"{charts}?last=3600"
    assert [path for path in asked if path.startswith(page_itself)] == [
        *(page_itself, charts, hour, page_itself, hour),
    ]
    assert watched.problems == []


def test_charts__time_is_chosen__are_made_anew_and_stand_in_the_address(
    browser: Browser, site: Site
) -> None:
    watched = log_in(browser, site)
    page = watched.page
    watched.open("/dashboard/statistics/")
    page.get_by_label("The last").select_option("6 hours")
    expect(page.locator("#statistics")).to_contain_text("in steps of 300 s")
    assert "last=21600" in page.url
    mark = page.get_by_role("link", name="2 bypass FSBackend on")
    # The one of the table: those of the chart are for the mouse.
    expect(mark).to_have_count(1)
    mark.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("scheduler")
    assert watched.problems == []
