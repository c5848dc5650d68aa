"""Starting, watching and stopping real processes."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.launcher.plan import CONTROLPLANE_SETTINGS, ProcessPlan, plan_agents
from controlplane.launcher.ports import PortTaken, check_ports
from controlplane.launcher.supervisor import ProcessFailed, Supervisor, answers
from tests.support.processes import free_ports

SERVER = """
import http.server, sys
address = ("127.0.0.1", int(sys.argv[1]))
http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def plan(code: str, port: int) -> ProcessPlan:
    return ProcessPlan(
        name="example",
        command=(sys.executable, "-c", code, str(port)),
        host="127.0.0.1",
        port=port,
        port_setting="EXAMPLE_PORT",
        environment=dict(os.environ),
    )


def test_check_ports__taken__names_port_process_and_setting() -> None:
    port = free_ports(1)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        with pytest.raises(PortTaken, match=rf"Port {port} .*'example'.*EXAMPLE_PORT"):
            check_ports([plan("", port)])


def test_check_ports__free__passes() -> None:
    port = free_ports(1)
    check_ports([plan("", port)])
    assert free_ports(1) == port


def test_wait__process_ends_early__fails_with_the_end_of_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(plan("import sys; print('no such model'); sys.exit(3)", free_ports(1)))
    with pytest.raises(ProcessFailed, match=r"(?s)exit code 3.*no such model"):
        supervisor.wait_until_ready(lambda: ["example"], lambda missing: None, 30)
    supervisor.stop()


def test_wait__never_ready__fails_naming_what_is_missing(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(plan(SERVER, free_ports(1)))
    try:
        with pytest.raises(ProcessFailed, match="the moon"):
            supervisor.wait_until_ready(lambda: ["the moon"], lambda missing: None, 0.5)
    finally:
        supervisor.stop()


def test_stop__running_process__port_is_free_again(tmp_path: Path) -> None:
    process = plan(SERVER, free_ports(1))
    supervisor = Supervisor(tmp_path)
    supervisor.start(process)

    def missing() -> list[str]:
        with socket.socket() as probe:
            return [] if probe.connect_ex((process.host, process.port)) == 0 else ["example"]

    supervisor.wait_until_ready(missing, lambda names: None, 30)
    supervisor.stop()
    assert missing() == ["example"]
    assert not answers(process)


def test_plan_agents__settings_of_the_control_plane__are_not_passed_on() -> None:
    environment = {**dict.fromkeys(CONTROLPLANE_SETTINGS, "secret"), "KVPLANE_NUM_LAYERS": "2"}
    plans = plan_agents(6999, 2, environment)
    assert [(entry.name, entry.port) for entry in plans] == [
        ("scheduler", 6999),
        ("worker-0", 7000),
        ("worker-1", 7001),
    ]
    for entry in plans:
        assert not CONTROLPLANE_SETTINGS & set(entry.environment)
        assert entry.environment["KVPLANE_NUM_LAYERS"] == "2"


# As fast as it goes, so that a signal finds the watch at every one of its steps.
WATCH = """
import pathlib, sys
from controlplane.launcher import supervisor
supervisor.POLL_SECONDS = 0.0
watching = supervisor.Supervisor(pathlib.Path(sys.argv[1]))
watching.stop_on_signals()
print("watching", flush=True)
watching.watch()
print("stopped", flush=True)
"""


def test_watch__signals_on_each_others_heels__always_stops(tmp_path: Path) -> None:
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WATCH, str(tmp_path)], stdout=subprocess.PIPE
        ) as watching:
            try:
                watching.stdout.readline()  # type: ignore[union-attr]  # it is piped
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    watching.send_signal(number)
                # Not the exit code: a signal that comes while Python ends has no handler.
                watching.wait(10)
                assert watching.stdout.read() == b"stopped\n"  # type: ignore[union-attr]
            finally:
                watching.kill()
