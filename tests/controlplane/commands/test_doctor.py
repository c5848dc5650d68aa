"""`manage.py doctor`: what it finds, and that it says what to do."""

from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.audit import guards
from controlplane.audit.heads import head_writer
from controlplane.audit.keys import KeyRing
from controlplane.audit.models import AuditEntry, ForwardingCursor
from controlplane.fleet.models import Agent, Dialect, EnrolmentToken
from controlplane.forwarding.transport import NotSent, RawAnswer
from controlplane.reconcile.models import Controller, Watch
from engine.contract.version import version
from tests.controlplane.commands.running import run, run_json
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


@pytest.fixture
def healthy(fleet, agents, make_user, settings, tmp_path, monkeypatch):
    """An installation without fault, and its simulated agent."""
    keys = KeyRing(tmp_path / "keys")
    monkeypatch.setattr("controlplane.audit.keys._ring", lambda directory: keys)
    settings.KVPLANE_AUDIT_HEADS_DIR = str(tmp_path / "heads")
    settings.DATA_DIR = tmp_path
    settings.SECRET_KEY = "x" * 50
    if connection.vendor == "postgresql":
        # Else the channel layer in memory is worth a warning.
        settings.REDIS_URL = "redis://127.0.0.1"
    make_user(UserRole.ADMIN)
    _, simulated = fleet("w0")
    respond = agents.respond
    monkeypatch.setattr(
        type(simulated), "status", lambda self: {**_STATUS, "role": self.role}, raising=True
    )
    agents.respond = lambda request: _dated(_answer(respond, request), timezone.now())
    Controller.objects.create(
        name="c",
        started_at=timezone.now(),
        seen_at=timezone.now(),
        alive_until=timezone.now() + timedelta(minutes=1),
    )
    head_writer().write()
    return simulated


_STATUS = {"versions": {"kvplane": version()}, "boot_id": "b", "worker_id": 0}


def _answer(respond, request) -> RawAnswer:
    if request.target == "/lmc_version":
        return RawAnswer(200, "text/plain", version().encode())
    return respond(request)


def _dated(answer: RawAnswer, moment) -> RawAnswer:
    date = format_datetime(moment, usegmt=True)
    return RawAnswer(answer.status, answer.media_type, answer.body, date)


def faults(area: str = "") -> list[tuple[str, str]]:
    """Level and text of what is not well, with a remedy each."""
    findings = run_json("doctor").document["findings"]
    wrong = [finding for finding in findings if finding["level"] != "ok"]
    assert all(finding["remedy"] for finding in wrong)
    return [(one["level"], one["what"]) for one in wrong if area in ("", one["area"])]


def test_doctor__all_is_well__0_and_every_area_is_looked_at(healthy):
    finished = run_json("doctor")

    assert faults() == []
    assert (finished.exit, finished.document["level"]) == (0, "ok")
    assert {finding["area"] for finding in finished.document["findings"]} == {
        *("database", "channel layer", "disk", "clocks", "audit", "tokens"),
        *("secret key", "controllers", "agents"),
    }
    assert "w0 answers" in run("doctor").out


def test_doctor__a_run__is_on_record(healthy):
    run("doctor")

    assert AuditEntry.objects.get(action="command.run").target == "command:doctor"


def test_doctor__warnings_only__3__and_worse__1(healthy):
    Controller.objects.all().delete()
    assert run("doctor").exit == 3

    User.objects.all().delete()
    assert run("doctor").exit == 1


def test_doctor__agents__each_fault_is_told_apart(healthy, fleet, agents, make_agent):
    respond = agents.respond
    answers = {
        "http://127.0.0.1:8001": lambda request: _refuse(),
        "http://127.0.0.1:8002": lambda request: reply({"error": "x"}, 401),
        "http://127.0.0.1:8003": lambda request: _of_lmcache(request),
    }
    agents.respond = lambda request: answers.get(request.base, respond)(request)
    for number, name in enumerate(("silent", "locked", "peer"), 1):
        make_agent(name, url=f"http://127.0.0.1:800{number}", worker_id=number)
    make_agent("unread", url="http://127.0.0.1:8004", worker_id=4)
    Agent.objects.filter(name="unread").update(encrypted_token="not ours")
    Agent.objects.filter(name="w0").update(dialect=Dialect.LMCACHE)
    make_agent("gone", url="http://127.0.0.1:8001", worker_id=9)
    Agent.objects.filter(name="gone").update(left_at=timezone.now())

    found = {what.split()[0].rstrip(":"): (level, what) for level, what in faults("agents")}

    assert {name: level for name, (level, _) in found.items()} == {
        "silent": "bad",
        "locked": "bad",
        "peer": "bad",
        "unread": "bad",
        "w0": "warn",
    }
    assert "token" in found["locked"][1]
    assert "/agent/status" in found["peer"][1]
    assert ("bad", "the tokens of these agents cannot be read with it: unread") in faults(
        "secret key"
    )


def _refuse() -> RawAnswer:
    raise NotSent("Connection refused")


def _of_lmcache(request) -> RawAnswer:
    if request.target == "/lmc_version":
        return RawAnswer(200, "text/plain", b"0.5.6")
    return reply({"error": "Not found", "message": "No such path."}, 404)


def test_doctor__versions_and_roles_differ__says_so(healthy, monkeypatch):
    other = {**_STATUS, "versions": {"kvplane": "0.0.1"}, "role": "scheduler"}
    monkeypatch.setattr(type(healthy), "status", lambda self: other)

    assert [level for level, _ in faults("agents")] == ["bad", "warn"]


@pytest.mark.parametrize(("seconds", "level"), [(10, "warn"), (-120, "bad")])
def test_doctor__clock_of_an_agent_is_off__says_by_how_much(healthy, agents, seconds, level):
    respond = agents.respond
    agents.respond = lambda request: _dated(
        respond(request), timezone.now() + timedelta(seconds=seconds)
    )

    ((found, what),) = faults("clocks")

    assert found == level
    assert f"{seconds:+d}"[:2] in what


def test_doctor__drift_and_a_loop_that_gave_up(healthy):
    watch = Watch.objects.create(agent=Agent.objects.get(), drift={"freeze": {}})
    assert faults("agents") == [("warn", "w0 has drift: freeze")]

    Watch.objects.filter(pk=watch.pk).update(gave_up_at=timezone.now(), last_error="no")
    ((level, what),) = faults("agents")
    assert (level, "gave up on w0" in what) == ("bad", True)


def test_doctor__tokens_about_to_expire__and_admins_without_password(healthy, make_user):
    soon, over = timezone.now() + timedelta(days=3), timezone.now() - timedelta(days=1)
    user = make_user(UserRole.VIEWER)
    for number, end in enumerate((soon, over, None, soon + timedelta(days=90))):
        ApiToken.objects.create(
            user=user,
            name=f"t{number}",
            role="viewer",
            prefix="p",
            digest=str(number),
            expires_at=end,
        )
    EnrolmentToken.objects.create(name="rack", prefix="p", digest="d", expires_at=over)
    passwordless = User.objects.create(username="root", role=UserRole.ADMIN)
    passwordless.set_unusable_password()
    passwordless.save()

    told = " ".join(what for _, what in faults("tokens"))

    assert "t0 (p…) expires" in told
    assert "t1 (p…) expired" in told
    assert "rack (p…) expired" in told
    assert "root has no password" in told
    assert "t2" not in told
    assert "t3" not in told


def test_doctor__audit__keys_heads_guards_and_forwarding(healthy, tmp_path, settings, monkeypatch):
    (tmp_path / "keys" / "hmac-k1.key").chmod(0o644)
    assert [level for level, _ in faults("audit")] == ["bad"]
    (tmp_path / "keys" / "hmac-k1.key").chmod(0o600)

    for path in Path(settings.KVPLANE_AUDIT_HEADS_DIR).iterdir():
        path.unlink()
    assert faults("audit") == [("warn", "there is no signed head")]
    head_writer().write()

    with connection.cursor() as cursor:
        suffix = " ON audit_auditentry" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER audit_refuse_update{suffix}")
    try:
        ((level, what),) = faults("audit")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(guards._made(connection)["audit_refuse_update"])
    assert (level, "audit_refuse_update" in what) == ("bad", True)


def test_doctor__receiver_is_behind__says_why(healthy, monkeypatch):
    class Receiver:
        name = "webhook"

    monkeypatch.setattr("controlplane.launcher.checkup.audit_log.forwarders", lambda: [Receiver()])
    ForwardingCursor.objects.create(name="webhook", last_id=0, attempts=4, last_error="502")

    ((level, what),) = faults("audit")

    assert level == "warn"
    assert "4 attempts failed" in what
    assert "502" in what


def test_doctor__nothing_can_be_recorded__bad(healthy, monkeypatch):
    def fail(**fields):
        raise DatabaseError("disk full")

    monkeypatch.setattr("controlplane.audit.services.record", fail)

    assert faults("database") == [("bad", "nothing can be recorded: disk full")]


def test_doctor__key_and_disk(healthy, settings, tmp_path, monkeypatch):
    (tmp_path / "secret_key").write_text("x")
    (tmp_path / "secret_key").chmod(0o644)
    settings.DEBUG = True
    monkeypatch.setattr("controlplane.launcher.checkup.host._LITTLE", 1 << 62)

    assert [level for level, _ in faults("secret key")] == ["bad"]
    assert faults("settings") == [("bad", "KVPLANE_DEBUG is on")]
    assert {level for level, _ in faults("disk")} == {"warn"}


def test_doctor__channel_layer_loses_messages__bad(healthy, monkeypatch):
    class Broken:
        async def new_channel(self, prefix):
            raise ConnectionError("redis is gone")

    monkeypatch.setattr(
        "controlplane.launcher.checkup.channel_layer.get_channel_layer", lambda: Broken()
    )

    ((level, what),) = faults("channel layer")
    assert (level, "redis is gone" in what) == ("bad", True)
