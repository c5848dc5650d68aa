"""The control loop over real processes: agents that are killed, and a control plane
that is."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.controlplane import prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, manage, running
from tests.support.redis_server import running_redis
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
POLL_SECONDS = 2.0
TOKEN = "agent-token-of-the-loop"


def seconds_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until the condition held."""
    started = time.monotonic()
    eventually(condition, what, seconds)
    return time.monotonic() - started


@contextmanager
def agent(directory: Path, port: int) -> Iterator[tuple[str, object]]:
    """A real worker."""
    url = f"http://127.0.0.1:{port + 1}"
    environment = clean_environment(
        KVPLANE_AGENT_TOKEN=TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
        KVPLANE_SERVE_SCHEDULER="false",
        KVPLANE_WORKER_IDS="0",
        KVPLANE_WORLD_SIZE="1",
        KVPLANE_NUM_LAYERS="2",
        KVPLANE_NUM_BLOCKS="16",
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.05",
        KVPLANE_REMOTE_URL=f"fs://{directory}/remote",
    )
    with running(
        [sys.executable, "-m", "engine"], environment, directory / "agent.log", [f"{url}/health"]
    ) as process:
        yield url, process


@contextmanager
def controlplane(
    directory: Path, environment: dict[str, str], port: int, token: str
) -> Iterator[tuple[httpx.Client, object]]:
    url = f"http://127.0.0.1:{port}"
    with (
        running(
            serve_command(port), environment, directory / "controlplane.log", [f"{url}/health"]
        ) as process,
        httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=30,
        ) as client,
    ):
        yield client, process


def loop_environment(directory: Path, **settings: str) -> dict[str, str]:
    return clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_POLL_SECONDS=str(POLL_SECONDS),
        **settings,
    )


def test_agent__killed_and_restarted__conf_freeze_and_bypass_are_back(tmp_path: Path) -> None:
    port = free_ports(3)
    environment = loop_environment(tmp_path)
    token = prepare(environment, "loop", "operator")
    with ExitStack() as stack:
        direct = stack.enter_context(
            httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
        )
        with agent(tmp_path, port) as (url, process):
            register(environment, "w", url, engine="e", worker_id=0, token=TOKEN)
            api, _ = stack.enter_context(controlplane(tmp_path, environment, port + 2, token))

            def watch() -> dict[str, object]:
                answer = api.get("/api/v1/watches/w")
                return answer.json() if answer.status_code == 200 else {}

            seconds_until(lambda: watch().get("health") == "online", 20, "never seen")
            changes = (
                ("POST", "/agents/w/conf", {"min_retrieve_tokens": 512}),
                ("PUT", "/agents/w/freeze/enable", None),
                ("PUT", "/agents/w/bypass/add?backend_name=RemoteBackend", None),
            )
            for method, path, body in changes:
                api.request(method, path, json=body).raise_for_status()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds_until(
            lambda: watch()["health"] in ("unknown", "offline"), 20, "silence not noticed"
        )
        with agent(tmp_path, port) as (url, _):

            def is_back() -> bool:
                status = direct.get(f"{url}/agent/status").json()
                conf = direct.get(f"{url}/conf?names=min_retrieve_tokens").json()
                return (
                    status["freeze"] is True
                    and status["bypassed_backends"] == ["RemoteBackend"]
                    and conf == {"min_retrieve_tokens": 512}
                )

            took = seconds_until(is_back, 2 * POLL_SECONDS + 10, "not put back")
            assert took <= 2 * POLL_SECONDS + 0.5
            seconds_until(lambda: watch()["drift"] == {}, 20, "drift stays")
        entries = api.get("/api/v1/audit/?agent=w&page_size=100&ordering=id").json()["results"]
        story = [
            (entry["action"], entry["actor_kind"])
            for entry in entries
            if entry["stage"] != "requested"
        ]
        expected = [
            ("conf.update", "token"),
            ("freeze.enable", "token"),
            ("bypass.add", "token"),
            ("agent.unknown", "controller"),
            ("agent.online", "controller"),
            ("agent.restart", "controller"),
            ("drift.found", "controller"),
            ("conf.update", "controller"),
            ("bypass.add", "controller"),
            ("freeze.enable", "controller"),
            ("drift.gone", "controller"),
        ]
        told = iter(story)
        assert all(step in told for step in expected), story


def test_controlplane__killed_in_the_middle_of_an_operation__every_target_has_a_true_outcome(
    tmp_path: Path,
) -> None:
    count = 64
    port = free_ports(count + 1)
    environment = loop_environment(tmp_path)
    token = prepare(environment, "loop", "operator")
    fleet = [
        *(sys.executable, "-m", "tests.support.simulated_fleet"),
        *("--port", str(port + 1), "--count", str(count), "--delay", "0.5"),
    ]
    urls = [f"http://127.0.0.1:{port + 1 + number}" for number in range(count)]
    with running(fleet, clean_environment(), tmp_path / "fleet.log", [f"{urls[-1]}/health"]):
        manage(environment, "shell", "-c", _REGISTER.format(urls=urls))
        with controlplane(tmp_path, environment, port, token) as (api, process):
            started = api.post(
                "/api/v1/operations/",
                json={
                    "action": "freeze.enable",
                    "selector": {"everybody": True},
                    "concurrency": 16,
                    "reason": "killed in the middle",
                },
            )
            assert started.status_code == 202, started.text
            identifier = started.json()["id"]

            def outcomes() -> list[str]:
                found = api.get(f"/api/v1/operations/{identifier}").json()["targets"]
                return [target["state"] for target in found]

            seconds_until(lambda: outcomes().count("succeeded") >= 16, 20, "nothing happened")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        frozen = [httpx.get(f"{url}/simulated/state").json()["freeze"] for url in urls]
        assert 16 <= sum(frozen) < count
        with controlplane(tmp_path, environment, port, token) as (api, _):

            def operation() -> dict[str, object]:
                return api.get(f"/api/v1/operations/{identifier}").json()

            seconds_until(
                lambda: operation()["state"] not in ("pending", "running"), 60, "not finished"
            )
            targets = {entry["agent"]: entry["state"] for entry in operation()["targets"]}
            states = [httpx.get(f"{url}/simulated/state").json() for url in urls]
    for number, state in enumerate(states):
        outcome = targets[f"agent-{number:03}"]
        assert outcome == ("succeeded" if state["freeze"] else "failed"), (number, outcome)
        assert state["asked"].get("PUT /freeze/enable", 0) <= 1
    assert list(targets.values()).count("succeeded") >= count - 16


_REGISTER = """
from controlplane.audit.actors import Actor, ActorKind
from controlplane.fleet.services import AgentSpec, register_agent
from engine.contract import Role
actor = Actor(ActorKind.COMMAND, "tests", "command:tests")
for number, url in enumerate({urls!r}):
    register_agent(
        AgentSpec(f"agent-{{number:03}}", url, Role.WORKER, number, "simulated"),
        actor=actor, request_id="setup",
    )
"""


def simulated(tmp_path: Path, count: int, port: int) -> list[str]:
    """The command that serves so many simulated agents."""
    return [
        *(sys.executable, "-m", "tests.support.simulated_fleet"),
        *("--port", str(port), "--count", str(count)),
    ]


def test_controllers__one_of_two_is_killed__the_other_goes_on_within_a_lease(
    tmp_path: Path,
) -> None:
    count, lease = 12, 3.0
    port = free_ports(count)
    urls = [f"http://127.0.0.1:{port + number}" for number in range(count)]
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(tmp_path / "data"),
        KVPLANE_POLL_SECONDS="0.5",
        KVPLANE_CONTROLLER_LEASE_SECONDS=str(lease),
    )
    prepare(environment, "loop", "operator")
    manage(environment, "shell", "-c", _REGISTER.format(urls=urls))
    controller = [sys.executable, "manage.py", "runcontroller"]
    with ExitStack() as stack:
        fleet = simulated(tmp_path, count, port)
        health = [f"{urls[-1]}/health"]
        stack.enter_context(running(fleet, clean_environment(), tmp_path / "fleet.log", health))
        killed, other = (
            stack.enter_context(
                running(controller, environment, tmp_path / f"controller-{number}.log", [])
            )
            for number in range(2)
        )

        def shares() -> dict[str, int]:
            found = manage(environment, "shell", "-c", _SHARES)
            return dict(json.loads(found.strip().splitlines()[-1]))

        def polls() -> list[int]:
            states = (httpx.get(f"{url}/simulated/state").json()["asked"] for url in urls)
            return [asked.get("GET /agent/status", 0) for asked in states]

        def is_shared() -> bool:
            return sorted(shares().values()) == [count // 2] * 2

        seconds_until(is_shared, 40, "they do not share")
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        before = polls()
        took = seconds_until(
            lambda: all(now > then + 1 for now, then in zip(polls(), before, strict=True)),
            lease + 10,
            "some agents are not polled any more",
        )
        assert took <= lease + 3
        assert other.poll() is None
        assert list(shares().values()) == [count]


_SHARES = """
import json
from django.db.models import Count
from django.utils import timezone
from controlplane.reconcile.models import Watch
held = Watch.objects.filter(held_until__gt=timezone.now()).exclude(holder="")
print(json.dumps(list(held.values_list("holder").annotate(count=Count("pk")))))
"""


def test_events__of_a_controller_in_another_process__come_over_redis(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, ExitStack() as stack:
        port = free_ports(2)
        url = f"http://127.0.0.1:{port + 1}"
        environment = clean_environment(
            KVPLANE_DATA_DIR=str(tmp_path / "data"),
            KVPLANE_POLL_SECONDS="0.5",
            # Nothing is found by looking: the hint has to come.
            KVPLANE_EVENTS_PATROL_SECONDS="600",
            REDIS_URL=f"redis://{server.address}",
        )
        token = prepare(environment, "loop", "operator")
        manage(environment, "shell", "-c", _REGISTER.format(urls=[url]))
        stack.enter_context(controlplane(tmp_path, environment, port, token))
        with connect(
            f"ws://127.0.0.1:{port}/ws/events/?kind=agent.online",
            additional_headers={"Authorization": f"Bearer {token}"},
            proxy=None,
        ) as socket:
            assert json.loads(socket.recv(timeout=10))["kind"] == "hello"
            for command, name, health in (
                (simulated(tmp_path, 1, port + 1), "fleet", [f"{url}/health"]),
                ([sys.executable, "manage.py", "runcontroller"], "controller", []),
            ):
                log = tmp_path / f"{name}.log"
                stack.enter_context(running(command, environment, log, health))
            event = json.loads(socket.recv(timeout=30))

    assert (event["kind"], event["agent"], event["actor"]) == (
        "agent.online",
        "agent-000",
        "controller",
    )
