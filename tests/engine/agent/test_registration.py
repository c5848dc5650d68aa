"""Registering with a control plane, against a real HTTP server."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import islice
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from engine.agent import registration
from engine.agent.registration import FAREWELL_SECONDS, Backoff, deregister, register
from engine.agent.server import Listener, serve
from tests.engine.agent.controlplane_double import controlplane, saying

LOOPBACK = ip_address("127.0.0.1")
FAST = Backoff(first=0.001, most=0.002)
TOKENS = {"agent_token": "agent-secret", "enrolment_token": "enrol-secret"}


def settle(agent, url: str = "http://127.0.0.1:7000") -> None:
    asyncio.run(asyncio.wait_for(register(agent, url, FAST), timeout=30))


def test_register__accepted__sends_what_the_control_plane_needs_once(make_worker) -> None:
    with controlplane(201) as server:
        agent = make_worker(controlplane_url=f"{server.url}/", **TOKENS)
        settle(agent)
    assert len(server.enrolments) == 1
    enrolment = server.enrolments[0]
    assert (enrolment.path, enrolment.authorization) == ("/api/v1/enrol", "Bearer enrol-secret")
    assert enrolment.document == {
        "name": "small-worker-0",
        "url": "http://127.0.0.1:7000",
        "role": "worker",
        "worker_id": 0,
        "engine": "small",
        "instance_id": "small",
        "agent_token": "agent-secret",
        "dialect": "kvplane",
        "boot_id": agent.boot_id,
    }


def test_register__scheduler_without_agent_token__named_after_its_role(make_scheduler) -> None:
    with controlplane(200) as server:
        settle(make_scheduler(controlplane_url=server.url, enrolment_token="enrol-secret"))
    document = server.enrolments[0].document
    assert (document["name"], document["worker_id"]) == ("small-scheduler", None)
    assert document["agent_token"] is None


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429, 302])
def test_register__refused_for_now__asks_again_until_accepted(make_worker, status: int) -> None:
    with controlplane(status, status, 201) as server:
        settle(make_worker(controlplane_url=server.url, **TOKENS))
    assert len(server.enrolments) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_register__refused_for_good__stops_and_says_what_to_do(
    make_worker, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with controlplane(status, 201) as server:
        settle(make_worker(controlplane_url=server.url, **TOKENS))
    assert len(server.enrolments) == 1
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "enrolment_token" in errors[0]
    assert "secret" not in caplog.text


@dataclass(frozen=True)
class Telling(Backoff):
    """Tells when a try has failed."""

    has_failed: asyncio.Event = field(default_factory=asyncio.Event)

    def delays(self) -> Iterator[float]:
        yield self.first
        self.has_failed.set()
        yield from super().delays()


def test_register__control_plane_starts_later__registered_then(make_worker) -> None:
    async def scenario() -> int:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        agent = make_worker(controlplane_url=f"http://127.0.0.1:{port}", **TOKENS)
        backoff = Telling(FAST.first, FAST.most)
        task = asyncio.create_task(register(agent, "http://127.0.0.1:7000", backoff))
        await asyncio.wait_for(backoff.has_failed.wait(), 30)
        assert not task.done()
        loop = asyncio.get_running_loop()
        enrolled = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
            loop.call_soon(enrolled.set)

        async with await asyncio.start_server(answer, "127.0.0.1", port):
            await asyncio.wait_for(enrolled.wait(), 30)
            await asyncio.wait_for(task, 30)
        return port

    asyncio.run(scenario())


@pytest.mark.parametrize("missing", ["controlplane_url", "enrolment_token"])
def test_register__not_configured__does_nothing(make_worker, missing: str) -> None:
    with controlplane(201) as server:
        settings = {"controlplane_url": server.url, "enrolment_token": "enrol-secret"}
        del settings[missing]
        settle(make_worker(**settings))
    assert server.enrolments == []


def test_deregister__registered__says_which_start_has_ended(make_worker) -> None:
    with controlplane(200) as server:
        agent = make_worker(controlplane_url=f"{server.url}/", **TOKENS)
        asyncio.run(deregister(agent))
    (departure,) = server.enrolments
    assert (departure.path, departure.authorization) == (
        "/api/v1/enrol/leave",
        "Bearer enrol-secret",
    )
    assert departure.document == {
        "name": "small-worker-0",
        "agent_token": "agent-secret",
        "boot_id": agent.boot_id,
    }


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_deregister__refused__says_so_and_asks_once(
    make_worker, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with controlplane(status, 200) as server:
        asyncio.run(deregister(make_worker(controlplane_url=server.url, **TOKENS)))
    assert len(server.enrolments) == 1
    assert str(status) in caplog.text
    assert "secret" not in caplog.text


def test_deregister__control_plane_gone__says_so_and_returns(
    make_worker, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    agent = make_worker(controlplane_url=f"http://127.0.0.1:{port}", **TOKENS)
    asyncio.run(asyncio.wait_for(deregister(agent), 30))
    assert f"Control plane not told that {agent.name} ends" in caplog.text
    assert "secret" not in caplog.text


def test_deregister__control_plane_never_answers__returns_in_time(make_worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        asyncio.run(deregister(make_worker(controlplane_url=url, **TOKENS)))
    assert time.monotonic() - started < FAREWELL_SECONDS + 3


@pytest.mark.parametrize("missing", ["controlplane_url", "enrolment_token"])
def test_deregister__not_configured__does_nothing(make_worker, missing: str) -> None:
    with controlplane(200) as server:
        settings = {"controlplane_url": server.url, "enrolment_token": "enrol-secret"}
        del settings[missing]
        asyncio.run(deregister(make_worker(**settings)))
    assert server.enrolments == []


def test_serve__stopped__registers_at_the_start_and_leaves_at_the_end(make_worker) -> None:
    with controlplane(201, 200) as server:
        agent = make_worker(controlplane_url=server.url, **TOKENS)

        async def scenario() -> None:
            stop = asyncio.Event()
            with socket.create_server(("127.0.0.1", 0)) as listening:
                listener = Listener(agent, listening)
                serving = asyncio.create_task(serve([listener], stop, lambda agent, url: None))
                async with asyncio.timeout(30):
                    while not server.enrolments:
                        await asyncio.sleep(0.01)
                    stop.set()
                    await serving

        asyncio.run(scenario())
    assert [said.path for said in server.enrolments] == ["/api/v1/enrol", "/api/v1/enrol/leave"]


def ended_answer(head: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


@pytest.mark.parametrize("charset", [b"base64", b"undefined", b"idna", b"no-such"])
def test_register__refusal_in_a_charset_that_is_none__is_shown(
    make_worker, caplog: pytest.LogCaptureFixture, charset: bytes
) -> None:
    answer = ended_answer(b"400 No\r\nContent-Type: text/plain; charset=" + charset, b"go away\xff")
    with saying(lambda request: [answer]) as url:
        agent = make_worker(controlplane_url=url, **TOKENS)
        settle(agent)
        asyncio.run(deregister(agent))
    assert caplog.text.count("go away") == 2


@pytest.mark.parametrize("status", [b"200 OK", b"400 No"])
def test_register__answer_without_an_end__is_read_no_further_than_shown(
    make_worker, status: bytes
) -> None:
    sent: list[int] = []

    def endless(request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 %b\r\n\r\n" % status
        while True:
            yield b"x" * (1 << 20)
            sent.append(1 << 20)

    with saying(endless) as url:
        agent = make_worker(controlplane_url=url, **TOKENS)
        settle(agent)
        asyncio.run(deregister(agent))
    # What is more lay in the buffers of the system.
    assert sum(sent) <= 64 << 20


def test_register__answer_drop_by_drop__is_given_up_and_asked_again(
    make_worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "_ANSWER_SECONDS", 0.5)
    requests: list[bytes] = []

    def drops(request: bytes) -> Iterator[bytes]:
        requests.append(request)
        if len(requests) >= 3:
            yield ended_answer(b"201 Created", b"")
            return
        yield b"HTTP/1.1 400 No\r\n\r\n"
        while True:
            time.sleep(0.02)
            yield b"x"

    with saying(drops) as url:
        settle(make_worker(controlplane_url=url, **TOKENS))
    assert len(requests) >= 3


def test_register__answer_repeats_what_it_was_told__no_secret_is_logged(
    make_worker, caplog: pytest.LogCaptureFixture
) -> None:
    with saying(lambda request: [ended_answer(b"401 No", request)]) as url:
        agent = make_worker(controlplane_url=url, **TOKENS)
        settle(agent)
        asyncio.run(deregister(agent))
    assert "small-worker-0" in caplog.text
    assert "secret" not in caplog.text


def test_register__sent_elsewhere__says_where_and_what_to_set(
    make_worker, caplog: pytest.LogCaptureFixture
) -> None:
    with controlplane(301, 201) as server:
        settle(make_worker(controlplane_url=server.url, **TOKENS))
    assert "http://127.0.0.1:1/elsewhere" in caplog.text
    assert "set controlplane_url" in caplog.text


def test_register__own_authority__is_trusted_where_the_machine_trusts_it(
    make_worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with controlplane(201, tls=context) as server:
        settle(make_worker(controlplane_url=f"https://127.0.0.1:{server.server_port}", **TOKENS))
    assert len(server.enrolments) == 1


def self_signed(directory: Path) -> Path:
    """A certificate for this machine, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kvplane")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "own.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


def test_backoff__many_delays__grow_to_the_cap_with_jitter() -> None:
    delays = list(islice(Backoff(first=1.0, most=8.0).delays(), 50))
    bounds = [1.0, 2.0, 4.0] + [8.0] * 47
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert len(set(delays)) > 40
