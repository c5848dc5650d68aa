"""Whoever hammers the door fills no disk, and what is left out is counted."""

from collections.abc import Iterator

import pytest
from django.db import DatabaseError
from rest_framework.test import APIClient

from controlplane.audit import keeper as keeping
from controlplane.audit import limiter as limiting
from controlplane.audit import services
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.heads import HeadWriter
from controlplane.audit.keeper import AuditKeeper
from controlplane.audit.keys import key_ring
from controlplane.audit.limiter import DenialLimiter, source_of
from controlplane.audit.models import AuditEntry
from tests.support.waiting import eventually

DEADLINE_SECONDS = 20.0


@pytest.fixture
def clock(monkeypatch) -> Iterator[list[float]]:
    """What time it is, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(limiting, "monotonic", lambda: now[0])
    return now


def limiter(**given: int) -> DenialLimiter:
    return DenialLimiter(
        **{"per_source": 10, "overall": 600, "window_s": 60.0, "sources": 4} | given
    )


def admitted(limits: DenialLimiter, source: str, calls: int = 1) -> int:
    return sum(limits.admit("access.denied", source).admitted for _ in range(calls))


def denials() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action="access.denied").order_by("pk"))


def call(address: str) -> None:
    assert APIClient(REMOTE_ADDR=address).get("/api/v1/users/").status_code == 401


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::9%eth0", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_source_of__address__is_what_one_caller_can_choose_from(address, source):
    assert source_of(address) == source


def test_admit__minute_is_over__admits_again(clock):
    limits = limiter()
    assert admitted(limits, "a", 30) == 10
    clock[0] += 60

    again = limits.admit("access.denied", "a")
    assert again.admitted
    assert again.left_out_before == 20


def test_admit__as_many_sources_as_there_are__no_more_than_the_overall_limit(clock):
    limits = limiter(overall=50)

    assert sum(admitted(limits, str(number)) for number in range(200)) == 50
    clock[0] += 60
    assert admitted(limits, "another") == 1


def test_admit__source_was_forgotten__what_it_left_out_is_in_the_next_entry(clock):
    limits = limiter()
    admitted(limits, "a", 30)
    assert admitted(limits, "b") + admitted(limits, "c") + admitted(limits, "d") == 3

    first = limits.admit("access.denied", "e")
    assert (first.left_out_before, first.left_out_elsewhere) == (0, 20)
    assert limits.admit("access.denied", "e").left_out_elsewhere == 0


def test_take__everything_that_is_counted__is_given_once_by_action(clock):
    limits = limiter(sources=3)
    admitted(limits, "a", 30)
    for _ in range(15):
        limits.admit("user.login", "a")
    admitted(limits, "b", 11)

    assert limits.take() == {"access.denied": 21, "user.login": 5}
    assert limits.take() == {}


def test_denied__from_one_ipv6_network__is_one_source(db):
    for number in range(30):
        call(f"2001:db8::{number:x}")

    assert len(denials()) == 10


def test_left_out__recorded__tells_how_many_and_of_what(db):
    for _ in range(30):
        call("192.0.2.7")
    services.record_left_out()
    services.record_left_out()

    last = denials()[-1]
    assert len(denials()) == 11
    assert (last.actor_name, last.outcome) == ("anonymous", "denied")
    assert last.request == {"left_out": 20, "actions": {"access.denied": 20}}


@pytest.mark.django_db
def test_left_out__cannot_be_recorded__is_counted_on(monkeypatch):
    for _ in range(30):
        call("192.0.2.7")
    with monkeypatch.context() as patch:
        patch.setattr(services, "_append", _fail)
        services.record_left_out()
        services.record_denial(
            actor=Actor(ActorKind.USER, "anonymous", "", "192.0.2.8"), request_id="r", request={}
        )
    services.record_left_out()

    assert denials()[-1].request["left_out"] == 21


def left_out() -> int:
    """How many denials are told as a number only."""
    return sum(entry.request.get("left_out", 0) for entry in denials())


def _fail(*_: object) -> None:
    raise DatabaseError("the disk is full")


@pytest.mark.django_db(transaction=True)
class TestKeeper:
    """What a process does meanwhile, and at its end."""

    @pytest.fixture(autouse=True)
    def _heads(self, settings, tmp_path) -> None:
        settings.KVPLANE_AUDIT_HEADS_DIR = str(tmp_path / "heads")

    def test_at_intervals__what_was_left_out_is_recorded(self, settings):
        settings.KVPLANE_AUDIT_HEAD_SECONDS = 0.05
        keeper = AuditKeeper()
        keeper.start()
        for _ in range(15):
            call("192.0.2.7")
        eventually(lambda: left_out() == 5)
        keeper.stop()

        assert left_out() == 5

    def test_end_of_the_process__what_was_left_out_is_recorded(self, settings):
        settings.KVPLANE_AUDIT_HEAD_SECONDS = 3600.0
        keeper = AuditKeeper()
        keeper.start()
        for _ in range(15):
            call("192.0.2.7")
        keeper.stop()

        assert denials()[-1].request["left_out"] == 5

    def test_unexpected_error__is_logged_and_heads_are_signed_all_the_same(
        self, settings, monkeypatch, caplog, write, tmp_path
    ):
        settings.KVPLANE_AUDIT_HEAD_SECONDS = 0.01
        failures = [LookupError("nobody foresaw it"), ValueError("nor this")]

        def make_writer() -> HeadWriter:
            if failures:
                raise failures.pop()
            return HeadWriter(tmp_path / "heads", key_ring())

        monkeypatch.setattr(keeping, "head_writer", make_writer)
        write()
        keeper = AuditKeeper()
        keeper.start()
        eventually(lambda: any((tmp_path / "heads").glob("heads-*.jsonl")))
        keeper.stop()

        assert "nobody foresaw it" in caplog.text
        assert "nor this" in caplog.text
