"""A control plane with a scheduler and two workers behind it, real processes all, and a
browser that notes what goes wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from playwright.sync_api import Page

from tests.support.chromium import Troubles, browser
from tests.support.controlplane import PASSWORD, prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running

USER = "anna"
AGENTS = {"scheduler": None, "worker-0": 0, "worker-1": 1}
_AGENT_TOKEN = "agent-token-for-the-admin-tests"


@dataclass(frozen=True)
class Site:
    """Where it is, a token for its API, and the environment of its processes."""

    url: str
    token: str
    environment: dict[str, str] = field(repr=False)

    def api(self, path: str, **params: str) -> dict[str, object]:
        """What the API says."""
        answer = httpx.get(
            f"{self.url}{path}",
            params=params,
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
        )
        answer.raise_for_status()
        return answer.json()

    def audit(self, **params: str) -> list[dict[str, object]]:
        """Entries of the audit log, newest first."""
        return self.api("/api/v1/audit/", **params)["results"]

    def status(self, agent: str) -> dict[str, object]:
        """What the agent itself says."""
        return self.api(f"/agents/{agent}/agent/status")

    @contextmanager
    def session(self) -> Iterator[httpx.Client]:
        """Somebody who is logged in, without a browser."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as client:
            client.get("/admin/login/")
            sent = {"username": USER, "password": PASSWORD, "next": "/admin/"}
            answer = client.post("/admin/login/", data={**sent, **token_of(client)})
            assert answer.status_code == 302, answer.text
            yield client


def token_of(client: httpx.Client) -> dict[str, str]:
    """The field that a form needs."""
    return {"csrfmiddlewaretoken": client.cookies["kvplane_csrf"]}


@contextmanager
def running_site(directory: Path) -> Iterator[Site]:
    """Everything started, agents registered, the control loop awake."""
    port = free_ports(4)
    url = f"http://127.0.0.1:{port + 3}"
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_POLL_SECONDS="1",
        KVPLANE_AUDIT_READS="*=metadata",
    )
    token = prepare(environment, USER, "admin")
    agent_environment = clean_environment(
        KVPLANE_AGENT_TOKEN=_AGENT_TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
        KVPLANE_WORKER_IDS="[0, 1]",
        KVPLANE_WORLD_SIZE="2",
        KVPLANE_ENABLE_CHUNK_STATISTICS="true",
        KVPLANE_LOCAL_DISK=str(directory / "disk"),
        KVPLANE_MAX_LOCAL_DISK_SIZE="0.1",
        KVPLANE_NUM_LAYERS="2",
        KVPLANE_NUM_BLOCKS="16",
        KVPLANE_CHUNK_SIZE="16",
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.1",
    )
    urls = {name: f"http://127.0.0.1:{port + place}" for place, name in enumerate(AGENTS)}
    for name, worker_id in AGENTS.items():
        register(environment, name, urls[name], engine="e", worker_id=worker_id, token=_AGENT_TOKEN)
    with (
        running(
            [sys.executable, "-m", "engine"],
            agent_environment,
            directory / "agents.log",
            [f"{url}/health" for url in urls.values()],
        ),
        running(
            serve_command(port + 3), environment, directory / "controlplane.log", [f"{url}/health"]
        ),
    ):
        yield Site(url, token, environment)


@dataclass
class Browser:
    """A logged-in browser, and what goes wrong in it."""

    page: Page
    site: Site
    troubles: Troubles

    def shoot(self, name: str) -> None:
        """Keep a picture, if somebody wants to look."""
        if shots := os.environ.get("KVPLANE_SCREENSHOTS"):
            self.page.screenshot(path=f"{shots}/{name}.png", full_page=True)

    def check(self) -> None:
        """Nothing went wrong so far, and nothing left the site."""
        assert (self.troubles.errors, self.troubles.outside) == ([], [])


@contextmanager
def browsing(site: Site) -> Iterator[Browser]:
    """Chromium at the admin's index, logged in through its form."""
    with browser() as chrome:
        page = chrome.new_page(viewport={"width": 1440, "height": 900})
        troubles = Troubles(site.url)
        troubles.watch(page)
        page.goto(f"{site.url}/admin/")
        page.fill("input[name=username]", USER)
        page.fill("input[name=password]", PASSWORD)
        page.click("input[type=submit]")
        page.wait_for_url(f"{site.url}/admin/")
        yield Browser(page, site, troubles)
