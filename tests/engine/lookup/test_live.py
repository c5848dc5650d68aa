"""Keys of lookups whose change applies now: the behaviour changed."""

import threading

from engine.lookup.managing import LookupClients
from tests.engine.lookup.conftest import Deploy, Deployment
from tests.support.waiting import eventually

WAIT = 30.0


def counting(deploy: Deploy) -> tuple[Deployment, LookupClients]:
    deployment = deploy(
        1, enable_chunk_statistics=True, chunk_statistics_auto_start_statistics=True
    )
    deployment.serve()
    return deployment, deployment.clients


def test_lookup_timeout_ms__changed__the_next_lookup_waits_as_long(deploy: Deploy) -> None:
    deployment = deploy(1, lookup_timeout_ms=600_000)
    deployment.serve()
    deployment.clients.lookup(range(8), "a")
    release = threading.Event()
    storage = deployment.engines[0].storage
    promise = storage.promise
    storage.promise = lambda *given: int(release.wait(WAIT)) and promise(*given)  # type: ignore[method-assign]
    deployment.set(lookup_timeout_ms=50)
    assert deployment.clients.lookup(range(8), "a") == 0
    assert deployment.clients.counters()["lookup_timeouts"] == 1
    release.set()


def test_pin_timeout_sec__changed__what_is_held_is_let_go_sooner(deploy: Deploy) -> None:
    deployment = deploy(1, pin_timeout_sec=3600.0, pin_check_interval_sec=0.05)
    deployment.serve()
    deployment.store(0, 64)
    deployment.clients.lookup(range(64), "a")
    holds = deployment.engines[0].storage.holds
    assert holds.usage().requests == 1
    deployment.set(pin_timeout_sec=0.1)
    eventually(lambda: holds.usage().requests == 0)


def test_pin_check_interval_sec__changed__the_next_look_comes_sooner(deploy: Deploy) -> None:
    deployment = deploy(1, pin_timeout_sec=0.1, pin_check_interval_sec=3600.0)
    deployment.serve()
    deployment.store(0, 64)
    holds = deployment.engines[0].storage.holds
    deployment.clients.lookup(range(64), "a")
    deployment.set(pin_check_interval_sec=0.05)
    eventually(lambda: holds.usage().requests == 0)


def test_auto_exit_timeout_hours__changed__counting_stops(deploy: Deploy) -> None:
    deployment, clients = counting(deploy)
    assert clients.statistics.status()["is_collecting"]
    deployment.set(chunk_statistics_auto_exit_timeout_hours=0.01 / 3600)
    eventually(lambda: not clients.statistics.status()["is_collecting"])
    assert clients.statistics.status()["exit_reason"] == "timeout"


def test_auto_exit_target__changed__counting_stops_there(deploy: Deploy) -> None:
    deployment, clients = counting(deploy)
    deployment.set(chunk_statistics_auto_exit_target_unique_chunks=4)
    clients.lookup(range(64), "a")
    eventually(lambda: not clients.statistics.status()["is_collecting"])
    assert clients.statistics.status()["exit_reason"] == "target"
