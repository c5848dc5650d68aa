"""Forwarding to receivers that fail, hang and come back."""

import base64
import hmac
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from controlplane.audit.forwarding import forwarder as forwarding
from controlplane.audit.forwarding.delivery import DeliveryFailed
from controlplane.audit.forwarding.forwarder import Forwarder, forwarded_up_to, forwarders
from controlplane.audit.forwarding.receivers import (
    BadReceiver,
    Syslog,
    Webhook,
    read_syslog,
    read_webhook,
)
from controlplane.audit.forwarding.syslog import SyslogDelivery, format_message
from controlplane.audit.forwarding.webhook import WebhookDelivery, sign
from controlplane.audit.models import AuditEntry, ForwardingCursor
from tests.support.waiting import eventually

SECRET = "a-secret-of-sufficient-length"
DEADLINE_SECONDS = 20.0


class Receiver(ThreadingHTTPServer):
    """Answers with the given statuses, then with 204; keeps what it took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.calls: list[tuple[str, bool]] = []
        self.taken: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/audit"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.go_on.wait(DEADLINE_SECONDS)
        name, moment = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        good = self.headers["webhook-signature"] == sign(SECRET, name, moment, body)
        self.server.calls.append((name, good))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        if status == 204:
            self.server.taken += [entry["id"] for entry in json.loads(body)["entries"]]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(settings, transactional_db) -> Iterator[Callable[..., threading.Event]]:
    """Runs a forwarder in a thread until the test, or the event, ends it."""
    settings.KVPLANE_AUDIT_FORWARD_SECONDS = 0.01
    running: list[tuple[threading.Event, threading.Thread]] = []

    def start(forwarder: Forwarder) -> threading.Event:
        stopping = threading.Event()
        thread = threading.Thread(target=forwarder.run, args=(stopping,))
        running.append((stopping, thread))
        thread.start()
        return stopping

    yield start
    for stopping, _ in running:
        stopping.set()
    for _, thread in running:
        thread.join(DEADLINE_SECONDS)


def begin() -> None:
    """Everything from now on is to be forwarded."""
    ForwardingCursor.objects.create(name="webhook", last_id=0)


def webhook(receiver: Receiver) -> Forwarder:
    return Forwarder("webhook", WebhookDelivery(Webhook(receiver.url, SECRET, 5.0)))


def test_webhook__entries__arrive_in_order_and_signed(receiver, run, write):
    begin()
    run(webhook(receiver))
    written = [write(number).pk for number in range(250)]
    eventually(lambda: len(receiver.taken) >= 250)

    assert receiver.taken == written
    assert all(good for _, good in receiver.calls)
    eventually(lambda: ForwardingCursor.objects.get().last_id == written[-1])


def test_webhook__fails_and_comes_back__nothing_is_lost_and_order_is_kept(receiver, run, write):
    begin()
    receiver.statuses = [500, 302, 429]
    written = [write(number).pk for number in range(5)]
    run(webhook(receiver))
    eventually(lambda: len(receiver.taken) >= 5)

    assert receiver.taken == written
    # The receiver can tell a repetition by its name.
    assert {name for name, _ in receiver.calls} == {f"audit-{written[0]}-{written[-1]}"}
    assert len(receiver.calls) == 4
    eventually(lambda: ForwardingCursor.objects.get().attempts == 0)


def test_webhook__nobody_listens__error_stands_at_the_cursor(run, write, settings):
    begin()
    write()
    address = Webhook("http://anna:hush@127.0.0.1:9/x", SECRET, 1.0)
    run(Forwarder("webhook", WebhookDelivery(address)))
    eventually(lambda: ForwardingCursor.objects.get().attempts > 0)

    cursor = ForwardingCursor.objects.get()
    assert cursor.last_id == 0
    assert cursor.last_error
    assert "hush" not in cursor.last_error


def test_forwarder__unexpected_error__is_logged_and_nothing_is_lost(
    run, write, monkeypatch, caplog
):
    class Odd:
        """Fails first as nobody foresaw."""

        def __init__(self) -> None:
            self.taken: list[int] = []
            self.fails = True

        def deliver(self, entries) -> int:
            if self.fails:
                self.fails = False
                raise LookupError("nobody foresaw it")
            self.taken += [entry.pk for entry in entries]
            return len(entries)

        def close(self) -> None:
            """Nothing is held."""

    begin()
    monkeypatch.setattr(forwarding, "_PAUSE_AFTER_FAULT_S", 0.01)
    odd, written = Odd(), write().pk
    run(Forwarder("webhook", odd))
    eventually(lambda: odd.taken == [written])

    assert "nobody foresaw it" in caplog.text


def test_webhook__hangs__nobody_who_writes_waits(receiver, run, write):
    begin()
    receiver.go_on.clear()
    write()
    run(webhook(receiver))
    eventually(lambda: ForwardingCursor.objects.get().holder != "")
    written = [write(number).pk for number in range(20)]

    assert receiver.taken == []
    receiver.go_on.set()
    eventually(lambda: receiver.taken[-20:] == written)


def test_forwarder__first_start__begins_with_what_comes_after(receiver, run, write):
    write()
    run(webhook(receiver))
    eventually(lambda: ForwardingCursor.objects.exists())
    later = write().pk
    eventually(lambda: bool(receiver.taken))

    assert receiver.taken == [later]


def test_forwarder__stopped_and_started__goes_on_where_it_was(receiver, run, write):
    begin()
    first = run(webhook(receiver))
    one = write().pk
    eventually(lambda: receiver.taken == [one])
    first.set()
    eventually(lambda: ForwardingCursor.objects.get().holder == "")
    other = write().pk
    run(webhook(receiver))
    eventually(lambda: len(receiver.taken) == 2)

    assert receiver.taken == [one, other]


def test_forwarders__two_of_them__one_delivers(receiver, run, write):
    begin()
    run(webhook(receiver))
    run(webhook(receiver))
    written = [write(number).pk for number in range(50)]
    eventually(lambda: len(receiver.taken) >= 50)

    assert receiver.taken == written


def test_forwarder__holder_is_gone__another_takes_over(receiver, run, write):
    begin()
    ForwardingCursor.objects.update(holder="gone:1:x", held_until=timezone.now())
    written = write().pk
    run(webhook(receiver))
    eventually(lambda: receiver.taken == [written])

    assert ForwardingCursor.objects.get().holder != "gone:1:x"


def test_syslog__tcp__messages_arrive_whole_and_counted(run, write):
    ForwardingCursor.objects.create(name="syslog", last_id=0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_SECONDS)
        address = Syslog("tcp", "127.0.0.1", server.getsockname()[1])
        run(Forwarder("syslog", SyslogDelivery(address)))
        written = [write(number).pk for number in range(3)]
        peer, _ = server.accept()
        peer.settimeout(DEADLINE_SECONDS)
        with peer, peer.makefile("rb") as stream:
            found = [parse(_read_counted(stream)) for _ in written]

    assert [message["id"] for message in found] == [str(number) for number in written]


def _read_counted(stream) -> bytes:
    digits = b""
    while (one := stream.read(1)) != b" ":
        digits += one
    return stream.read(int(digits))


def test_syslog__udp__long_entry_is_sent_without_its_long_parts(db, write):
    entry = write(request={"body": "x" * 20_000})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(DEADLINE_SECONDS)
        delivery = SyslogDelivery(Syslog("udp", "127.0.0.1", server.getsockname()[1]))
        assert delivery.deliver([entry]) == 1
        delivery.close()
        message = parse(server.recv(65_536))

    assert message["entry"]["action"] == entry.action
    assert "request" not in message["entry"]


def test_syslog__connection_refused__is_a_failure(db, write):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DeliveryFailed):
        SyslogDelivery(Syslog("tcp", "127.0.0.1", port)).deliver([write()])


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(max_size=20), outcome=st.sampled_from(["succeeded", "failed", ""]))
def test_format_message__any_text__is_what_rfc_5424_says(db, write, name, outcome):
    entry = write(agent=name.replace("\x00", ""), outcome=outcome)
    entry = AuditEntry.objects.get(pk=entry.pk)
    message = parse(format_message(entry))

    assert message["priority"] == 13 * 8 + (4 if outcome == "failed" else 5)
    assert message["agent"] == entry.agent
    assert message["entry"] == entry.content


def parse(message: bytes) -> dict[str, object]:
    """Strictly after the grammar of RFC 5424, section 6."""
    found = re.fullmatch(
        rb"<(\d{1,3})>1 (\S{20,32}) ([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48}) ([\x21-\x7e]{1,128}) "
        rb"([\x21-\x7e]{1,32}) "
        rb"(\[[\x21-\x7e]{1,32}(?: [\x21-\x7e]{1,32}=\"(?:[^\"\\\]]|\\.)*\")*\]) "
        rb"\xef\xbb\xbf(.*)",
        message,
        re.DOTALL,
    )
    assert found is not None
    pairs = re.findall(rb' ([\x21-\x7e]+?)="((?:[^"\\\]]|\\.)*)"', found[7], re.DOTALL)
    values = {key.decode(): re.sub(r'\\(["\\\]])', r"\1", value.decode()) for key, value in pairs}
    return {"priority": int(found[1]), **values, "entry": json.loads(found[8])["entry"]}


class TestSettings:
    """What the settings name."""

    def test_none__nobody_forwards(self, db):
        assert forwarders() == []
        assert forwarded_up_to() is None

    def test_both__one_forwarder_each(self, db, settings):
        settings.KVPLANE_AUDIT_WEBHOOK = read_webhook("https://h/x", SECRET, 1.0)
        settings.KVPLANE_AUDIT_SYSLOG = read_syslog("tls://h")
        assert [forwarder.name for forwarder in forwarders()] == ["webhook", "syslog"]
        assert settings.KVPLANE_AUDIT_SYSLOG.port == 6514
        ForwardingCursor.objects.create(name="webhook", last_id=7)
        ForwardingCursor.objects.create(name="syslog", last_id=5)
        assert forwarded_up_to() == 5

    @pytest.mark.parametrize(
        ("url", "secret"),
        [
            ("ftp://h", SECRET),
            ("https://h", "short"),
            ("https://", SECRET),
            ("https://h", "whsec_" + "a" * 25),
            ("https://h", "whsec_" + "!" * 24),
            ("https://h", "whsec_" + "ä" * 24),
        ],
    )
    def test_webhook__bad__is_refused(self, url, secret):
        with pytest.raises(BadReceiver, match="KVPLANE_AUDIT_WEBHOOK"):
            read_webhook(url, secret, 1.0)

    def test_webhook__secret_in_base64__signs_with_what_it_says(self):
        secret = "whsec_" + base64.b64encode(b"a-key-of-sufficient-length").decode()
        assert read_webhook("https://h", secret, 1.0) is not None
        signature = hmac.digest(b"a-key-of-sufficient-length", b"n.1.{}", "sha256")
        assert sign(secret, "n", "1", b"{}") == "v1," + base64.b64encode(signature).decode()

    @pytest.mark.parametrize("address", ["h:514", "http://h", "udp://", "udp://h:x"])
    def test_syslog__bad__is_refused(self, address):
        with pytest.raises(BadReceiver, match="KVPLANE_AUDIT_SYSLOG"):
            read_syslog(address)
