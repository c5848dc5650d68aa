"""Answers that come late, never, or twice, and what is made of them."""

import threading

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from controlplane.audit.authorship import Authorship
from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes import services as modes
from controlplane.modes.models import DesiredMode, Mode
from controlplane.modes.services import Switch, Wish
from controlplane.operations import importing, sampling
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.reconcile.loop import ControlLoop
from tests.support.waiting import eventually

from ..conftest import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/operations/"
DEADLINE_SECONDS = 20.0


@pytest.fixture
def loop(transactional_db, settings):
    settings.KVPLANE_POLL_SECONDS = 0.001
    settings.KVPLANE_POLL_CONCURRENCY = 4
    controller = ControlLoop("test:1:a")
    yield controller
    controller.close()


def answer(method: str, path: str) -> None:
    """As usual."""


def refuse(method: str, path: str) -> None:
    raise NotSent("refused")


def never_arrives(method: str, path: str) -> None:
    if method == "POST":
        raise TimedOut("never arrived")


def states(operation: Operation) -> list[str]:
    return list(operation.targets.order_by("agent").values_list("state", flat=True))


@pytest.mark.parametrize("strategy", [{}, {"canary": 1, "pause_s": 1, "max_failures": None}])
def test_unknown_outcome__found_out_while_others_are_called__operation_goes_on(
    operator_api, fleet, loop, strategy
):
    simulated = [fleet(f"w{number}")[1] for number in range(3)]
    loop.go_round()
    loop.go_round()
    go_on = threading.Event()

    def lose(method: str, path: str) -> None:
        if path == "/freeze/enable":
            simulated[0].freeze = True
            raise TimedOut("lost")

    def hold(method: str, path: str) -> None:
        if path == "/freeze/enable":
            go_on.wait(DEADLINE_SECONDS)

    simulated[0].before, simulated[1].before = lose, hold
    asked = {"action": "freeze.enable", "selector": {"everybody": True}, "strategy": strategy}
    made = operator_api.post(URL, data=asked, format="json")
    eventually(lambda: OperationTarget.objects.filter(state=State.UNKNOWN).exists())
    simulated[0].before = answer
    operation = Operation.objects.get(pk=made.json()["id"])

    def found_out() -> bool:
        loop.go_round()
        return not operation.targets.filter(state=State.UNKNOWN).exists()

    eventually(found_out)
    operation.refresh_from_db()
    assert operation.finished_at is None
    go_on.set()
    eventually(lambda: Operation.objects.get(pk=operation.pk).finished_at is not None)

    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED
    assert states(operation) == ["succeeded"] * 3
    assert all(agent.freeze for agent in simulated)
    assert DesiredMode.objects.filter(mode=Mode.FREEZE, value=True).count() == 3


@pytest.mark.parametrize("url", ["redis://u:hush@host", "redis://host/0?password=hush"])
def test_retry__call_with_secrets__sends_them_and_not_stars(operator_api, fleet, url):
    _, simulated = fleet()
    simulated.conf["remote_url"] = None
    simulated.schema["remote_url"] = dict(simulated.schema["remote_serde"], choices=None)
    simulated._fits = lambda name, value: True
    simulated.before = refuse
    operator_api.post("/agents/worker-0/conf", data={"remote_url": url}, format="json")
    operation = Operation.objects.get(action="conf.update")
    assert "hush" not in str(operation.body) + operation.sealed
    simulated.before = answer
    operator_api.post(f"{URL}{operation.pk}/retry?wait=10")

    assert simulated.conf["remote_url"] == url


def test_retry__operation_whose_secrets_were_not_kept__is_409(operator_api, fleet):
    fleet()[1].before = refuse
    operator_api.post("/agents/worker-0/conf", data={"remote_url": "redis://***@h"}, format="json")
    Operation.objects.update(sealed="")
    response = operator_api.post(f"{URL}{Operation.objects.get().pk}/retry")

    assert response.status_code == 409
    assert response.json()["error"] == "Secrets not kept"


def test_retry__mode_with_an_end__still_ends(operator_api, fleet):
    _, simulated = fleet()
    simulated.before = refuse
    operator_api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Expires-In": "1200"})
    operation = Operation.objects.get()
    simulated.before = answer
    response = operator_api.post(f"{URL}{operation.pk}/retry?wait=10")

    assert response.status_code == 200
    assert DesiredMode.objects.get(mode=Mode.FREEZE).expires_at is not None


def test_shown_value__that_we_redact_otherwise_than_the_agent__is_no_drift(fleet, loop):
    _, simulated = fleet()
    simulated.conf["extra_config"] = {"opts": '{"a":1}'}
    simulated.schema["extra_config"] = dict(simulated.schema["chunk_size"], type="dict")
    for _ in range(6):
        loop.go_round()

    assert ConfigRevision.objects.count() == 1


def test_first_change__another_is_made_while_it_asks__both_stay(
    operator_api, fleet, loop, monkeypatch
):
    _, simulated = fleet()
    read = importing.read_configurations
    others = iter([{"min_retrieve_tokens": 5}])

    def read_slowly(*given, **named):
        found = read(*given, **named)
        for other in others:
            response = operator_api.post("/agents/worker-0/conf", data=other, format="json")
            assert response.status_code == 200
        return found

    monkeypatch.setattr(importing, "read_configurations", read_slowly)
    change = {"save_decode_cache": True}
    assert operator_api.post("/agents/worker-0/conf", data=change, format="json").status_code == 200
    for _ in range(4):
        loop.go_round()

    assert simulated.conf["min_retrieve_tokens"] == 5
    assert simulated.conf["save_decode_cache"] is True


def test_lost_change__of_a_secret_alone__is_not_called_a_success(operator_api, fleet, loop):
    _, simulated = fleet()
    simulated.conf["remote_url"] = "redis://***@host"
    simulated.schema["remote_url"] = dict(simulated.schema["remote_serde"], choices=None)
    loop.go_round()
    loop.go_round()
    simulated.before = never_arrives
    response = operator_api.post(
        "/agents/worker-0/conf", data={"remote_url": "redis://u:new@host"}, format="json"
    )
    assert response.status_code == 504
    simulated.before = answer
    for _ in range(3):
        loop.go_round()

    assert Operation.objects.get(action="conf.update").state == State.UNKNOWN


def test_snapshot__cannot_be_written__change_is_told_as_it_was(operator_api, fleet, monkeypatch):
    fleet()

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(sampling, "sample_now", fail)
    assert operator_api.post("/agents/worker-0/chunk_statistics/start").status_code == 200
    asked = {"action": "chunk_statistics.start", "selector": {"agents": ["worker-0"]}}
    made = operator_api.post(f"{URL}?wait=10", data=asked, format="json")

    assert made.json()["state"] == "succeeded"


def test_forwarded_body__nul_in_a_key__is_400(operator_api, fleet):
    fleet()
    response = operator_api.generic(
        "POST", "/agents/worker-0/conf", '{"\\u0000k":1}', content_type="application/json"
    )

    assert response.status_code == 400
    assert "NUL" in response.json()["message"]


def test_idempotency_key__with_another_expiry__is_409(operator_api, fleet):
    fleet()
    asked = {"action": "freeze.enable", "selector": {"everybody": True}}
    key = {"Idempotency-Key": "deploy-42"}
    operator_api.post(f"{URL}?wait=10", data=asked, format="json", headers=key)
    other = {**asked, "expires_in_s": 60}
    repeated = operator_api.post(URL, data=other, format="json", headers=key)

    assert repeated.status_code == 409


def test_first_changes_of_a_mode__older_one_is_written_later__newer_counts(fleet, monkeypatch):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    by, switch = Authorship(ACTOR, "", "r", None), Switch(Mode.FREEZE)
    with transaction.atomic():
        older = modes.propose("w", Wish(switch, True), by)
        newer = modes.propose("w", Wish(switch, False), by)
    looked, go_on = threading.Event(), threading.Event()
    insert = modes._insert_first

    def held(change):
        if change.pk == older.pk:
            looked.set()
            go_on.wait(DEADLINE_SECONDS)
        insert(change)

    def write() -> None:
        try:
            with transaction.atomic():
                modes.apply(older)
        finally:
            connections.close_all()

    monkeypatch.setattr(modes, "_insert_first", held)
    thread = threading.Thread(target=write)
    thread.start()
    assert looked.wait(DEADLINE_SECONDS)
    with transaction.atomic():
        modes.apply(newer)
    go_on.set()
    thread.join(DEADLINE_SECONDS)

    assert DesiredMode.objects.get(agent="w").change_id == newer.pk


def test_answer__after_another_process_has_finished_the_operation__does_not_overwrite_it(
    operator_api, fleet, loop
):
    _, simulated = fleet()
    loop.go_round()
    loop.go_round()
    asked = []

    def be_held_up(method, path):
        if method == "POST" and not asked:
            asked.append(path)
            Operation.objects.update(lease_until=timezone.now(), lease_owner="gone:place:1:x")
            loop.go_round()

    simulated.before = be_held_up
    response = operator_api.post(
        "/agents/worker-0/conf", data={"min_retrieve_tokens": 5}, format="json"
    )

    operation = Operation.objects.exclude(actor_kind="controller").get()
    assert response.status_code == 503
    assert response.json()["operation"] == str(operation.pk)
    assert operation.state == State.FAILED
    assert AuditEntry.objects.filter(operation_id=operation.pk, stage="completed").count() == 1
    for _ in range(3):
        loop.go_round()
    active = ConfigRevision.objects.get(agent="worker-0", state="active")
    assert simulated.conf == active.values
