"""Calling agents over a real socket, and reading LMCache's habits."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from controlplane.fleet.models import Dialect
from controlplane.forwarding import (
    AgentBusy,
    AgentClient,
    AgentTimeout,
    AgentUnreachable,
    BadAgentAnswer,
    NotCallable,
    send,
)
from controlplane.forwarding.curl import CurlTransport
from controlplane.forwarding.transport import WireRequest
from engine.contract import Role, endpoint
from tests.controlplane.wire import FakeAgents, reply

pytestmark = pytest.mark.django_db
OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"freeze": 1}'


@contextmanager
def raw_server(*replies: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection one of the replies and hangs up; None
    keeps the connection open in silence."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []
    done = threading.Event()

    def serve() -> None:
        for text in replies:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(65536))
                if text is None:
                    done.wait(10)
                else:
                    connection.sendall(text)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        done.set()
        # Closing alone would not wake a thread that waits in accept().
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


@dataclass
class KeepingServer:
    """What a keeping_server saw: for each request the number of its connection
    and its bytes."""

    url: str
    received: list[tuple[int, bytes]] = field(default_factory=list)
    hung_up: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released each time the server closed a connection."""


@contextmanager
def keeping_server(*connections: list[bytes], host: str = "127.0.0.1") -> Iterator[KeepingServer]:
    """A server that answers the requests on each connection in turn and then
    hangs up; an empty answer hangs up after the request. A connection without
    any request does not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    shown = f"[{host}]" if ":" in host else host
    server = KeepingServer(f"http://{shown}:{listener.getsockname()[1]}")

    def serve() -> None:
        number = 0
        while number < len(connections):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answers = iter(connections[number])
                asked = False
                for text in answers:
                    request = read_request(connection)
                    if not request:
                        break
                    asked = True
                    server.received.append((number, request))
                    connection.sendall(text)
            number += asked
            server.hung_up.release()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


def read_request(connection: socket.socket) -> bytes:
    """One request with its body; b"" if the caller hung up."""
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(65536)
        if not part:
            return b""
        request += part
    head = request.partition(b"\r\n\r\n")[0]
    declared = re.search(rb"content-length: (\d+)", head.lower())
    total = len(head) + 4 + int(declared[1] if declared else 0)
    while len(request) < total:
        request += connection.recv(65536)
    return request


@pytest.fixture
def real_client() -> Iterator[AgentClient]:
    transport = CurlTransport()
    yield AgentClient(transport, max_answer_bytes=1000, max_calls_per_agent=1)
    transport.close()


def call(client: AgentClient, agent, operation_id="get_freeze_status", timeout=5.0):
    return client.send(
        agent, endpoint(operation_id), query="", body=None, request_id="r", timeout=timeout
    )


def test_send__agent_answers__bytes_pass_unchanged(real_client, make_agent):
    with raw_server(OK) as (url, received):
        answer = call(real_client, make_agent(url=url))

    assert (answer.status, answer.body) == (200, b'{"freeze": 1}')
    assert b"authorization: bearer agent-secret-1" in received[0].lower()


def test_send__read_whose_connection_was_lost__is_sent_again(real_client, make_agent):
    with raw_server(b"", OK) as (url, received):
        answer = call(real_client, make_agent(url=url))

    assert answer.status == 200
    assert len(received) == 2


def test_send__change_whose_connection_was_lost__is_not_sent_again(real_client, make_agent):
    with raw_server(b"", OK) as (url, received), pytest.raises(BadAgentAnswer) as caught:
        call(real_client, make_agent(url=url), "enable_freeze")

    assert caught.value.body()["state"] == "unknown"
    assert len(received) == 1


def test_send__second_call__takes_the_kept_connection(real_client, make_agent):
    with keeping_server([OK, OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent)
        call(real_client, agent, "enable_freeze")

    assert [number for number, _ in server.received] == [0, 0]


def test_send__agent_closed_the_kept_connection__takes_another(real_client, make_agent):
    with keeping_server([OK], [OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent, "enable_freeze")
        assert server.hung_up.acquire(timeout=5)
        call(real_client, agent, "enable_freeze")

    assert [number for number, _ in server.received] == [0, 1]


@pytest.mark.parametrize("operation_id", ["enable_freeze", "clear_cache", "update_conf"])
def test_send__kept_connection_dies_under_a_change__is_not_sent_again(
    real_client, make_agent, operation_id
):
    with keeping_server([OK, b""], [OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent)
        with pytest.raises(BadAgentAnswer) as caught:
            call(real_client, agent, operation_id)

    assert caught.value.body()["state"] == "unknown"
    assert len(server.received) == 2


def test_send__kept_connection_dies_under_a_read__is_sent_again(real_client, make_agent):
    with keeping_server([OK, b""], [OK]) as server:
        agent = make_agent(url=server.url)
        call(real_client, agent, "enable_freeze")
        assert call(real_client, agent).status == 200

    assert [number for number, _ in server.received] == [0, 0, 1]


def test_send__change_without_a_body__sends_none(real_client, make_agent):
    with keeping_server([OK, OK]) as server:
        agent = make_agent(url=server.url)
        real_client.send(
            agent,
            endpoint("update_conf"),
            query="a=%2F&b=x,y",
            body=b'{"a": 1}',
            request_id="r",
            timeout=5,
        )
        call(real_client, agent, "enable_freeze")

    with_body, without = (request.decode("ascii").lower() for _, request in server.received)
    assert with_body.startswith("post /conf?a=%2f&b=x,y http/1.1\r\n")
    assert "content-type: application/json\r\n" in with_body
    assert with_body.endswith('content-length: 8\r\n\r\n{"a": 1}')
    assert without.startswith("put /freeze/enable http/1.1\r\n")
    assert "content-type" not in without
    assert without.endswith("content-length: 0\r\n\r\n")


def test_send__body_is_long__is_sent_without_asking_first(real_client, make_agent):
    with keeping_server([OK]) as server:
        real_client.send(
            make_agent(url=server.url),
            endpoint("update_conf"),
            query="",
            body=b" " * (2 << 20),
            request_id="r",
            timeout=5,
        )

    assert b"expect" not in server.received[0][1].lower()


def test_send__answer_in_chunks__is_put_together(real_client, make_agent):
    chunked = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        b'5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n'
    )
    with raw_server(chunked) as (url, _):
        assert call(real_client, make_agent(url=url)).body == b'{"a": 1}'


def test_send__agent_at_an_ipv6_address__is_called(real_client, make_agent):
    with keeping_server([OK], host="::1") as server:
        assert call(real_client, make_agent(url=server.url)).status == 200

    assert (
        f"host: {server.url.removeprefix('http://')}\r\n".encode() in server.received[0][1].lower()
    )


@pytest.mark.parametrize("query", ["a=1#b", "a=1 b", "a=1\r\nx: y", "a=\u00e9"])
def test_send__query_that_cannot_be_sent_as_it_is__is_502(real_client, make_agent, query):
    with raw_server(OK) as (url, received), pytest.raises(AgentUnreachable) as caught:
        real_client.send(
            make_agent(url=url),
            endpoint("enable_freeze"),
            query=query,
            body=None,
            request_id="r",
            timeout=5,
        )

    assert caught.value.body()["state"] == "unchanged"
    assert received == []


@pytest.mark.parametrize("request_id", ["r\r\nx: y", "r\u00e9"])
def test_send__header_that_cannot_be_sent__is_502(real_client, make_agent, request_id):
    with raw_server(OK) as (url, received), pytest.raises(AgentUnreachable):
        real_client.send(
            make_agent(url=url),
            endpoint("enable_freeze"),
            query="",
            body=None,
            request_id=request_id,
            timeout=5,
        )

    assert received == []


def test_send__agent_that_speaks_no_tls__is_502_and_state_unchanged(real_client, make_agent):
    with raw_server(OK) as (url, _), pytest.raises(AgentUnreachable) as caught:
        call(real_client, make_agent(url=url.replace("http:", "https:")), "enable_freeze")

    assert caught.value.body()["state"] == "unchanged"


def test_transport__more_idle_connections_than_are_kept__drops_the_oldest():
    transport = CurlTransport(max_kept=1)
    with keeping_server([OK], [OK]) as first, keeping_server([OK]) as second:
        for base in (first.url, second.url, first.url):
            request = WireRequest("GET", base, "/", {}, None)
            assert transport.exchange(request, 5, 1000).status == 200

    assert transport._count == 1
    assert list(transport._idle) == [first.url]
    assert [number for number, _ in first.received] == [0, 1]
    transport.close()
    assert transport._count == 0


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
            time.sleep(0.3)
        second, _ = listener.accept()
        with second:
            second.recv(65536)
            time.sleep(1.5)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started = time.perf_counter()
    agent = make_agent(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    with listener, pytest.raises(AgentTimeout):
        call(real_client, agent, timeout=0.5)
    assert time.perf_counter() - started < 0.75
    thread.join(5)


def test_send__agent_hangs__further_calls_are_503_soon(real_client, make_agent):
    def hang(agent) -> None:
        with pytest.raises(AgentTimeout):
            call(real_client, agent, timeout=1.0)

    with raw_server(None, OK) as (url, received):
        agent = make_agent(url=url)
        hanging = threading.Thread(target=hang, args=(agent,))
        hanging.start()
        while not received:
            time.sleep(0.01)
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


@pytest.mark.parametrize("url", ["http://a..b:80", f"http://{'a' * 64}.b:80", "http://xn--:80"])
def test_send__stored_url_cannot_be_called__is_502_and_state_unchanged(
    real_client, make_agent, url
):
    agent = make_agent()
    agent.url = url
    with pytest.raises(AgentUnreachable) as caught:
        call(real_client, agent, "enable_freeze")

    assert caught.value.body()["state"] == "unchanged"


def test_send__nobody_listens__is_502_and_state_unchanged(real_client, make_agent):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        agent = make_agent(url=f"http://127.0.0.1:{port}")
        with pytest.raises(AgentUnreachable) as caught:
            call(real_client, agent, "enable_freeze")

    assert caught.value.body()["state"] == "unchanged"


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort",
        OK.replace(b"200 OK", b"302 Found\r\nlocation: http://127.0.0.1:1/"),
        OK.replace(b'{"freeze": 1}', b"not json at a"),
        OK.replace(b'{"freeze": 1}', b'{"freeze":NaN'),
        OK.replace(b'{"freeze": 1}', b"\xff" * 13),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 360\r\n\r\n"
        + b'{"a":' * 51
        + b"1" * 54
        + b"}" * 51,
        OK.replace(b"application/json", b"text/html"),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + b"1" * 5000,
    ],
)
def test_send__answer_that_is_none__is_502(real_client, make_agent, reply):
    with raw_server(reply, reply) as (url, _), pytest.raises(BadAgentAnswer) as caught:
        call(real_client, make_agent(url=url))

    assert caught.value.status == 502
    assert caught.value.body()["agent"] == "worker-0"


def test_send__proxy_in_the_environment__is_not_used(real_client, make_agent, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with raw_server(OK) as (url, _):
        assert call(real_client, make_agent(url=url)).status == 200


def lmcache(agents, agent, operation_id, response, query=""):
    agents.respond = lambda request: response
    return send(agent, endpoint(operation_id), query=query, body=None, request_id="r", timeout=5.0)


class TestLMCacheDialect:
    @pytest.fixture
    def peer(self, make_agent):
        return make_agent(dialect=Dialect.LMCACHE)

    def test_conf__json_as_plain_text__becomes_json(self, agents, peer):
        answer = lmcache(
            agents, peer, "get_conf", reply({"chunk_size": 256}, media_type="text/plain")
        )

        assert answer.media_type == "application/json"
        assert json.loads(answer.body) == {"chunk_size": 256}

    def test_version__in_quotes__becomes_bare_text(self, agents, peer):
        answer = lmcache(agents, peer, "get_lmc_version", reply("0.5.6"))

        assert (answer.media_type, answer.body) == ("text/plain", b"0.5.6")

    def test_conf_update__failed_in_part_with_200__becomes_400(self, agents, peer):
        body = {"updated": {"a": 1}, "errors": {"b": "Unknown config"}}
        answer = lmcache(agents, peer, "update_conf", reply(body))

        assert (answer.status, answer.document) == (400, body)

    @pytest.mark.parametrize(
        ("operation_id", "wrap"), [("get_conf", None), ("update_conf", "updated")]
    )
    def test_conf__secrets__are_not_shown(self, agents, peer, operation_id, wrap):
        conf = {
            "remote_url": "redis://:hunter2@h:1",
            "agent_token": "hunter2",
            "extra_config": {"s3_secret_key": "hunter2", "size": 1},
        }
        response = reply({wrap: conf} if wrap else conf)
        answer = lmcache(agents, peer, operation_id, response)

        shown = {
            "remote_url": "redis://***@h:1",
            "agent_token": "***",
            "extra_config": {"s3_secret_key": "***", "size": 1},
        }
        assert answer.document == ({wrap: shown} if wrap else shown)
        assert json.loads(answer.body) == answer.document

    @pytest.mark.parametrize(
        ("status", "name"), [(499, "Status 499"), (500, "Internal server error")]
    )
    def test_error__any_status__has_a_name(self, agents, peer, status, name):
        answer = lmcache(agents, peer, "get_conf", reply({"detail": "no"}, status))

        assert answer.status == status
        assert answer.document == {"error": name, "message": "no"}

    def test_conf__error_with_a_secret__does_not_show_it(self, agents, peer):
        response = reply({"detail": "cannot reach redis://:hunter2@h:1"}, 500)
        answer = lmcache(agents, peer, "get_conf", response)

        assert b"hunter2" not in answer.body

    def test_conf__name_dropped_in_silence__becomes_400(self, agents, peer):
        response = reply({"chunk_size": 256}, media_type="text/plain")
        answer = lmcache(agents, peer, "get_conf", response, "names=chunk_size,nonsense")

        assert answer.status == 400
        assert "nonsense" in answer.document["message"]

    def test_inference_version__500__becomes_503(self, agents, peer):
        response = reply({"error": "Failed", "message": "No module"}, 500)
        answer = lmcache(agents, peer, "get_inference_version", response)

        assert answer.status == 503
        assert answer.document["error"] == "/inference_version API is unavailable"

    def test_error_of_its_framework__becomes_the_contracts(self, agents, peer):
        response = reply({"detail": [{"msg": "field required"}]}, 422)
        answer = lmcache(agents, peer, "get_kvcache_info", response)

        assert answer.status == 400
        assert set(answer.document) == {"error", "message"}

    @pytest.mark.parametrize("role", [Role.SCHEDULER, Role.WORKER])
    def test_lookup_info__no_role__is_the_one_that_is_registered(self, agents, make_agent, role):
        peer = make_agent(role=role, dialect=Dialect.LMCACHE)
        response = reply({"client": "None", "server": "None"})
        answer = lmcache(agents, peer, "get_lookup_info", response)

        assert answer.document == {"client": "None", "server": "None", "role": role.value}

    def test_lookup_create__dryrun__is_sent(self, agents, peer):
        response = reply({"new": "LMCacheLookupClient", "dryrun": True, "role": "scheduler"})
        answer = lmcache(agents, peer, "create_lookup", response, "dryrun=true")

        assert answer.document["dryrun"] is True

    @pytest.mark.parametrize(
        ("operation_id", "query"),
        [
            ("get_conf_schema", ""),
            ("get_agent_status", ""),
            ("update_conf", "atomic=true"),
            ("recreate_lookup", "dryrun=true"),
            ("close_lookup", "dryrun=1"),
            ("query_lookup", "tokens_mock=0,16"),
        ],
    )
    def test_our_additions__are_501_and_nothing_is_sent(self, agents, peer, operation_id, query):
        with pytest.raises(NotCallable) as caught:
            lmcache(agents, peer, operation_id, reply({}), query)

        assert caught.value.status == 501
        assert caught.value.body()["state"] == "unchanged"
        assert agents.requests == []
