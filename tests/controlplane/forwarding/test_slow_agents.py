"""Agents that are silent, drip, hang, or do not read: how long a call may take."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from controlplane.forwarding import AgentBusy, AgentClient, AgentTimeout
from engine.contract import endpoint
from tests.controlplane.wire import FakeAgents, reply
from tests.support.waiting import eventually

from .servers import OK, call, raw_server

pytestmark = pytest.mark.django_db


def test_send__agent_is_silent__is_504(real_client, make_agent):
    with raw_server(None) as (url, _), pytest.raises(AgentTimeout) as caught:
        call(real_client, make_agent(url=url), "enable_freeze", timeout=0.2)

    assert caught.value.status == 504


@contextmanager
def dripping_server(start: bytes, drop: bytes) -> Iterator[str]:
    """A server that answers every connection with `start` and then, without
    end, `drop` after `drop`."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(start)
                while not done.wait(0.05):
                    connection.sendall(drop)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK.replace(b"length: 13", b"length: 900"), b" "),
    ],
    ids=["headers", "interim-answers", "body"],
)
def test_send__agent_drips__is_504_in_time(real_client, make_agent, start, drop):
    started = time.perf_counter()
    with dripping_server(start, drop) as url, pytest.raises(AgentTimeout):
        call(real_client, make_agent(url=url), timeout=0.3)

    assert time.perf_counter() - started < 1.5


def test_send__agent_does_not_read__is_504_in_time(real_client, make_agent):
    started = time.perf_counter()
    with raw_server(None) as (url, _), pytest.raises(AgentTimeout):
        real_client.send(
            make_agent(url=url),
            endpoint("update_conf"),
            query="",
            body=b" " * (64 << 20),
            request_id="r",
            timeout=0.3,
        )

    assert time.perf_counter() - started < 1.5


def test_send__lost_connection__the_second_try_has_what_is_left(real_client, make_agent):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        first, _ = listener.accept()
        with first:
            first.recv(65536)
            # An agent that is slow to lose the connection: the first try takes that long.
            time.sleep(0.3)
        second, _ = listener.accept()
        with second:
            second.recv(65536)
            # No answer; it ends when the caller has had enough.
            second.recv(65536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started = time.perf_counter()
    agent = make_agent(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    with listener, pytest.raises(AgentTimeout):
        call(real_client, agent, timeout=0.5)
    assert time.perf_counter() - started < 0.75
    thread.join(5)
    assert not thread.is_alive()


def test_send__agent_hangs__further_calls_are_503_soon(real_client, make_agent):
    def hang(agent) -> None:
        with pytest.raises(AgentTimeout):
            call(real_client, agent, timeout=1.0)

    with raw_server(None, OK) as (url, received):
        agent = make_agent(url=url)
        hanging = threading.Thread(target=hang, args=(agent,))
        hanging.start()
        eventually(lambda: received)
        started = time.perf_counter()
        with pytest.raises(AgentBusy) as caught:
            call(real_client, agent, "enable_freeze")
        assert time.perf_counter() - started < 0.5
        results = real_client.send_all(
            [agent], endpoint("enable_freeze"), query="", body=None, request_id="r", timeout=5.0
        )
        hanging.join()
        assert not real_client._calls

    assert caught.value.status == 503
    assert caught.value.body()["error"] == "Agent busy"
    assert caught.value.body()["state"] == "unchanged"
    assert isinstance(results[0], AgentBusy)


def test_send__burst_to_an_agent_that_answers__every_call_gets_through(make_agent):
    crowded = AgentClient(
        FakeAgents(lambda request: reply({"status": "success"})), 1 << 20, max_calls_per_agent=1
    )
    agent = make_agent()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: call(crowded, agent), range(64)))
    assert {given.status for given in answers} == {200}
