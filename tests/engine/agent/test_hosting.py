"""Agents in a thread of another program."""

import asyncio
import socket
from typing import NoReturn

import httpx
import pytest

from engine.vllm import hosting
from engine.vllm.hosting import AgentHost
from tests.support.processes import free_ports
from tests.support.waiting import eventually


def fail(*args: object) -> NoReturn:
    raise RuntimeError("cannot be")


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_host__running__answers_until_it_is_stopped(make_worker) -> None:
    port = free_ports(2)
    host = AgentHost(make_worker(internal_api_server_port_start=port), 1)
    # It binds at once, and listens once its thread runs.
    eventually(lambda: not is_refused(port + 1))
    answer = httpx.get(f"http://127.0.0.1:{port + 1}/health")
    host.stop()
    assert (answer.status_code, is_refused(port + 1)) == (200, True)


def test_host__agent_has_ended__callers_are_refused_and_stop_returns(
    make_worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_ports(2)
    agent = make_worker(internal_api_server_port_start=port)
    monkeypatch.setattr(agent.workers, "start", fail)
    host = AgentHost(agent, 1)
    eventually(lambda: "The agent has ended" in caplog.text)
    assert is_refused(port + 1)
    host.stop()


def test_host__no_event_loop_to_be_had__stop_returns(
    make_worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_ports(2)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio.events, "new_event_loop", fail)
        patched.setattr(hosting, "_STOP_SECONDS", 0.5)
        host = AgentHost(make_worker(internal_api_server_port_start=port), 1)
        eventually(lambda: "The agent has ended" in caplog.text)
        host.stop()
    assert is_refused(port + 1)
