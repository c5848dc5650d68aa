"""`/ws/events/` over a real server."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.controlplane import PASSWORD, prepare, serve_command
from tests.support.processes import clean_environment, free_ports, manage, running

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Server:
    url: str
    environment: dict[str, str]
    token: str

    def api(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            timeout=30,
        )

    @contextmanager
    def watch(self, query: str = "", **headers: str) -> Iterator[ClientConnection]:
        sent = headers or {"Authorization": f"Bearer {self.token}"}
        with connect(
            f"{self.url.replace('http', 'ws')}/ws/events/{query}",
            additional_headers={name.replace("_", "-"): value for name, value in sent.items()},
            proxy=None,
        ) as socket:
            yield socket

    def make_engine(self, name: str) -> None:
        """Something that happens: an engine is made."""
        with self.api() as api:
            api.post("/api/v1/engines/", json={"name": name}).raise_for_status()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("live")
    port = free_ports(1)
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EVENTS_PATROL_SECONDS="0.5",
        KVPLANE_EVENTS_RECHECK_SECONDS="0.5",
    )
    token = prepare(environment, "watcher", "admin")
    url = f"http://127.0.0.1:{port}"
    log: Path = directory / "controlplane.log"
    with running(serve_command(port), environment, log, [f"{url}/health"]):
        yield Server(url, environment, token)


def next_of(socket: ClientConnection, kind: str, seconds: float = 10.0) -> dict:
    deadline = time.monotonic() + seconds
    while True:
        message = json.loads(socket.recv(timeout=max(0.01, deadline - time.monotonic())))
        if message["kind"] == kind:
            return message


def close_code(server: Server, query: str = "", **headers: str) -> int:
    with server.watch(query, **headers) as socket:
        return code_at_the_end(socket)


def code_at_the_end(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_watch__change__arrives_as_a_typed_event(server: Server) -> None:
    with server.watch() as socket:
        hello = next_of(socket, "hello")
        server.make_engine("typed")
        event = next_of(socket, "engine.create")

    assert event["cursor"] > hello["cursor"]
    assert (event["actor"], event["actor_kind"], event["outcome"]) == (
        "watcher/test",
        "token",
        "succeeded",
    )
    assert event["stage"] == "event"


def test_watch__again_from_a_cursor__misses_nothing_while_others_write(server: Server) -> None:
    count = 120
    with server.watch() as socket:
        cursor = next_of(socket, "hello")["cursor"]

    def write(part: int) -> None:
        for number in range(part, count, 4):
            server.make_engine(f"many-{number}")

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while len(seen) < count:
        # A browser that loses its connection now and then.
        with server.watch(f"?cursor={cursor}") as socket:
            next_of(socket, "hello")
            for _ in range(min(17, count - len(seen))):
                cursor = next_of(socket, "engine.create")["cursor"]
                seen.append(cursor)
    for thread in threads:
        thread.join()

    assert seen == sorted(set(seen))
    with server.api() as api:
        made = []
        url = "/api/v1/audit/?action=engine.create&page_size=500"
        while url:
            page = api.get(url).json()
            made += [entry["id"] for entry in page["results"]]
            url = page["next"]
    assert set(seen) == {entry for entry in made if entry >= seen[0]}


def test_watch__filters__let_only_that_through_and_tell_how_far_it_came(server: Server) -> None:
    with server.watch("?kind=user.*&kind=engine.remove") as socket:
        start = next_of(socket, "hello")["cursor"]
        server.make_engine("filtered")
        passed = json.loads(socket.recv(timeout=10))
        assert passed["kind"] == "cursor"
        assert passed["cursor"] > start
        with server.api() as api:
            api.delete("/api/v1/engines/filtered/").raise_for_status()
        assert json.loads(socket.recv(timeout=10))["kind"] == "engine.remove"


def test_watch__agent__lets_only_its_events_through(server: Server) -> None:
    with server.watch("?agent=watched") as socket, server.api() as api:
        next_of(socket, "hello")
        for name in ("other", "watched"):
            api.post(
                "/api/v1/agents/",
                json={
                    "name": name,
                    "engine": "agents",
                    "role": "scheduler",
                    "url": "http://127.0.0.1:1",
                },
            ).raise_for_status()
        event = next_of(socket, "agent.register")
        assert event["agent"] == "watched"


def test_watch__denied_call__is_no_event(server: Server) -> None:
    with server.watch() as socket:
        next_of(socket, "hello")
        httpx.get(f"{server.url}/api/v1/agents/", trust_env=False)
        server.make_engine("after-the-denial")
        kinds = [json.loads(socket.recv(timeout=10))["kind"]]
        assert kinds == ["engine.create"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer kvp_wrong"},
        {"X_Nothing": "1"},
        {"Cookie": "kvplane_session=made-up", "Origin": "http://127.0.0.1"},
    ],
)
def test_watch__not_authenticated__is_closed_with_4401(
    server: Server, headers: dict[str, str]
) -> None:
    assert close_code(server, **headers) == 4401


@contextmanager
def logged_in(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, follow_redirects=True) as browser:
        browser.get("/api/auth/login/")
        browser.post(
            "/api/auth/login/",
            data={
                "username": "watcher",
                "password": PASSWORD,
                "csrfmiddlewaretoken": browser.cookies["kvplane_csrf"],
            },
            headers={"Referer": f"{server.url}/api/auth/login/"},
        )
        yield browser


def cookie_of(browser: httpx.Client) -> str:
    return f"kvplane_session={browser.cookies['kvplane_session']}"


def test_watch__refused__is_on_record(server: Server) -> None:
    assert close_code(server, X_Nothing="1", User_Agent="prober/1.0") == 4401

    with server.api() as api:
        (entry, *_) = api.get("/api/v1/audit/?action=access.denied").json()["results"]
    assert (entry["status"], entry["outcome"], entry["actor_name"]) == (401, "denied", "anonymous")
    assert entry["request"]["path"] == "/ws/events/"
    assert entry["request"]["why"] == "Log in, or send an API token."
    assert (entry["source_address"], entry["user_agent"]) == ("127.0.0.1", "prober/1.0")


def test_watch__logged_in_browser__only_from_pages_of_this_server(server: Server) -> None:
    with logged_in(server) as browser:
        cookie = cookie_of(browser)

        assert close_code(server, Cookie=cookie, Origin="http://evil.example") == 4403
        assert close_code(server, Cookie=cookie, X_No_Origin="1") == 4403
        with server.watch(Cookie=cookie, Origin=server.url) as socket:
            next_of(socket, "hello")


def test_watch__session_ends__is_closed(server: Server) -> None:
    with (
        logged_in(server) as browser,
        server.watch(Cookie=cookie_of(browser), Origin=server.url) as socket,
    ):
        next_of(socket, "hello")
        browser.post(
            "/api/auth/logout/",
            data={"csrfmiddlewaretoken": browser.cookies["kvplane_csrf"]},
            headers={"Referer": f"{server.url}/api/v1/"},
        )
        assert code_at_the_end(socket) == 4401


def test_watch__token_revoked__is_closed(server: Server) -> None:
    token = manage(server.environment, "create_token", "watcher", "--name", "short").strip()
    with server.api() as api:
        (known,) = [
            row for row in api.get("/api/v1/tokens/").json()["results"] if row["name"] == "short"
        ]
        with server.watch(Authorization=f"Bearer {token}") as socket:
            next_of(socket, "hello")
            api.delete(f"/api/v1/tokens/{known['id']}/").raise_for_status()
            assert code_at_the_end(socket) == 4401


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "99999999999999999999"])
def test_watch__bad_cursor__is_told_and_closed(server: Server, cursor: str) -> None:
    with server.watch(f"?cursor={cursor}") as socket:
        message = json.loads(socket.recv(timeout=10))
        assert message["kind"] == "error"
        assert "cursor" in message["message"]
    assert close_code(server, f"?cursor={cursor}") == 4400


def test_watch__talks_too_much__is_closed(server: Server) -> None:
    with server.watch() as socket:
        next_of(socket, "hello")
        socket.send("x" * 2000)
        assert code_at_the_end(socket) == 4400


def test_watch__other_path__is_refused(server: Server) -> None:
    from websockets.exceptions import InvalidStatus

    with (
        pytest.raises(InvalidStatus),
        connect(f"{server.url.replace('http', 'ws')}/ws/nothing/", proxy=None),
    ):
        pass


def test_server__stops__while_somebody_watches(server: Server, tmp_path: Path) -> None:
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "second.log"
    with running(serve_command(port), server.environment, log, [f"{url}/health"]) as process:
        second = Server(url, server.environment, server.token)
        with second.watch() as socket:
            next_of(socket, "hello")
            process.terminate()
            # It does not wait for whoever watches.
            assert process.wait(15) in (0, -signal.SIGTERM)
