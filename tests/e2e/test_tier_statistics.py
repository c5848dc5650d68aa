"""Hit rates of real tiers: a real engine retrieves, the control loop keeps what it says, and
the API and the dashboard show it."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.chromium import FLAGS, chromium_path
from tests.support.controlplane import prepare, register
from tests.support.dashboard import LAPTOP, USER, Site, log_in
from tests.support.processes import clean_environment, free_ports, running

pytestmark = pytest.mark.slow
TOKEN = "agent-token-of-the-tiers"
MEMORY, DISK = "LocalCPUBackend", "LocalDiskBackend"
WAIT_S = 30.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A control plane that samples twice a second, over a worker with memory and disk."""
    directory: Path = tmp_path_factory.mktemp("tiers")
    port = free_ports(3)
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_POLL_SECONDS="0.5",
        KVPLANE_STATISTICS_SECONDS="0.5",
    )
    worker = f"http://127.0.0.1:{port + 1}"
    settings = clean_environment(
        KVPLANE_AGENT_TOKEN=TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
        KVPLANE_SERVE_SCHEDULER="false",
        KVPLANE_WORKER_IDS="0",
        KVPLANE_WORLD_SIZE="1",
        KVPLANE_NUM_LAYERS="2",
        KVPLANE_NUM_BLOCKS="16",
        KVPLANE_CHUNK_SIZE="16",
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.05",
        KVPLANE_LOCAL_DISK=str(directory / "disk"),
        KVPLANE_MAX_LOCAL_DISK_SIZE="0.1",
    )
    site = Site(f"http://127.0.0.1:{port + 2}", directory, environment, [worker])
    site.token = prepare(environment, USER, "operator")
    command = [sys.executable, "-m", "engine"]
    with running(command, settings, directory / "agent.log", [f"{worker}/health"]):
        register(environment, "w", worker, engine="e", worker_id=0, token=TOKEN)
        with site.serving():
            yield site


@pytest.fixture(scope="module")
def api(site: Site) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {site.token}"}
    with httpx.Client(base_url=site.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def send(api: httpx.Client, method: str, path: str, **query: str) -> dict[str, object]:
    """A documented call of the worker, through the control plane."""
    answer = api.request(method, f"/agents/w{path}", params=query)
    answer.raise_for_status()
    document: dict[str, object] = answer.json()
    return document


def storage(api: httpx.Client) -> dict[str, dict[str, object]]:
    return send(api, "GET", "/agent/status")["storage"]  # type: ignore[return-value]


def sums(api: httpx.Client, **whose: str) -> dict[str, tuple[int, int]]:
    """Tokens that each tier was asked for and had, over all buckets of the last day."""
    buckets = api.get("/api/v1/tier-statistics/series", params={"bucket": "60", **whose}).json()
    found: dict[str, tuple[int, int]] = {}
    for bucket in buckets:
        for name, use in (bucket["tiers"] or {}).items():
            asked, hit = found.get(name, (0, 0))
            found[name] = (asked + use["looked_up_tokens"], hit + use["hit_tokens"])
    return found


@pytest.fixture(scope="module")
def retrieved(site: Site, api: httpx.Client) -> None:
    """64 tokens retrieved from memory, then, memory cleared, 64 from disk and 32 from
    nowhere."""
    first = "/api/v1/tier-statistics/?agent=w"
    # What an agent had counted before it was first seen is nobody's.
    eventually(lambda: bool(api.get(first).json()["results"]), "the worker was not sampled")
    send(api, "POST", "/cache/store", tokens_mock="0,64")
    eventually(lambda: storage(api)[DISK]["queued"] == 0, "the disk was not written")
    assert storage(api)[DISK]["chunks"] == 4
    assert send(api, "POST", "/cache/retrieve", tokens_mock="0,64")["num_retrieved"] == 64
    send(api, "DELETE", "/cache/clear", locations=MEMORY)
    assert send(api, "POST", "/cache/retrieve", tokens_mock="0,96")["num_retrieved"] == 64


def test_series__retrieve_after_a_clear_of_memory__counts_for_the_disk(
    api: httpx.Client, retrieved: None
) -> None:
    expected = {MEMORY: (160, 64), DISK: (96, 64)}
    eventually(lambda: sums(api, agent="w") == expected, f"not {expected}: {sums(api, agent='w')}")
    assert sums(api, engine="e") == expected
    said = {
        name: (tier["looked_up_tokens"], tier["hit_tokens"]) for name, tier in storage(api).items()
    }
    assert said == expected
    (newest, *_) = api.get("/api/v1/tier-statistics/?agent=w").json()["results"]
    assert newest["requested_tokens"] == 160
    assert newest["retrieved_tokens"] == 128
    assert newest["stored_tokens"] == 64
    # What was read from disk is in memory again.
    assert newest["tiers"][MEMORY]["chunks"] == newest["tiers"][DISK]["chunks"] == 4


def test_dashboard__the_same__stands_beside_the_clear_that_explains_it(
    site: Site, api: httpx.Client, retrieved: None
) -> None:
    eventually(lambda: sums(api, agent="w").get(DISK) == (96, 64), "not sampled")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        watched = log_in(browser, site, viewport=LAPTOP)
        page = watched.page
        watched.open("/dashboard/statistics/?last=3600")
        shown = page.locator("#statistics")
        expect(shown).to_contain_text(f"Hit rate of {MEMORY}40.0 %")
        expect(shown).to_contain_text(f"Hit rate of {DISK}66.7 %")
        expect(shown.locator("figure.chart")).to_have_count(1)
        expect(shown.locator(".mark-clear").locator("visible=true").first).to_be_visible()
        expect(page.get_by_role("link", name="cache cleared")).to_have_count(1)
        page.get_by_text("The numbers of the charts").click()
        expect(page.locator("#numbers table")).to_contain_text(f"{DISK}: hit rate")
        watched.check("tiers-statistics")

        watched.open("/dashboard/agents/w/")
        charts = page.locator("#agent-charts")
        expect(charts.locator("figure.chart")).to_have_count(3)
        page.get_by_role("link", name="1 hour").click()
        expect(charts).to_contain_text("in steps of 120 s")
        expect(charts).to_contain_text("cache cleared")
        watched.check("tiers-agent")
        browser.close()
