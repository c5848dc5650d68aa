"""Lookups over sockets: what is answered, and what when nobody answers."""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from engine.config import ConfigError, EngineConfig
from engine.lookup import LocalWorkers, LookupClients, LookupUnavailable, Prompt
from engine.lookup.addresses import address_of
from engine.lookup.channel import Channel
from engine.lookup.listener import Listener
from engine.lookup.rpc import RPCLookupClient
from engine.lookup.security import CurveSecurity, NoSecurity, Security
from engine.lookup.server import LookupServer
from engine.lookup.tally import SCHEDULER_EVENTS, WORKER_EVENTS, LookupTally
from engine.metadata import scheduler_metadata
from tests.engine.lookup.conftest import Deploy
from tests.support.waiting import eventually

ROOT = b"r" * 32
PROMPT = Prompt("request", 20, 8, [bytes([number]) * 32 for number in range(2)])


class Index:
    """A worker whose answer a test decides."""

    def __init__(self, answer: Callable[[Prompt], int]) -> None:
        self.answer = answer
        self.forgotten: list[str] = []

    def count(self, prompt: Prompt) -> int:
        return self.answer(prompt)

    def load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        return self.answer(prompt)

    def forget(self, request_id: str) -> None:
        self.forgotten.append(request_id)


class Pair:
    """One server and one client."""

    def __init__(self, address: str, index: Index, timeout_ms: int = 10_000) -> None:
        self.address = address
        self.index = index
        self.served = LookupTally(WORKER_EVENTS)
        self.asked = LookupTally(SCHEDULER_EVENTS)
        self.server = self.serve()
        self.channel = Channel({0: address}, self.security)
        self.client = RPCLookupClient(self.channel, ROOT, lambda: timeout_ms, self.asked)

    def security(self, address: str) -> Security:
        return NoSecurity()

    def serve(self) -> LookupServer:
        return LookupServer(Listener(self.address, NoSecurity()), self.index, ROOT, self.served)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(f"ipc://{tmp_path}/socket", Index(lambda prompt: len(prompt.hashes)))
    yield pair
    pair.close()


def test_lookup__nothing_stored__finds_nothing(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    assert deployment.clients.lookup(range(64), "a") == 0


def test_lookup__stored_by_all_workers__is_found_in_whole_chunks(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    deployment.store(0, 30)
    assert deployment.clients.lookup(list(range(64)), "a") == 24


def test_lookup__workers_differ__the_smallest_answer_counts(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    deployment.store(0, 40, 0)
    deployment.store(0, 16, 1)
    assert deployment.clients.lookup(range(64), "a") == 16


def test_lookup__one_worker_has_nothing__finds_nothing(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    deployment.store(0, 40, 0)
    assert deployment.clients.lookup(range(64), "a") == 0


def test_lookup__asked_workers_are_named__only_they_count(deploy: Deploy) -> None:
    deployment = deploy(lookup_server_worker_ids=[1])
    deployment.serve()
    deployment.store(0, 40, 1)
    assert deployment.clients.lookup(range(64), "a") == 40
    assert [served.server_name for served in deployment.servers] == ["None", "LMCacheLookupServer"]


def test_lookup__mla__worker_0_speaks_for_all(deploy: Deploy) -> None:
    deployment = deploy(use_mla=True)
    deployment.serve()
    deployment.store(0, 40, 0)
    assert deployment.clients.lookup(range(64), "a") == 40


def test_lookup__unfull_chunks_are_stored__the_whole_prompt_is_found(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    deployment.set(save_unfull_chunk=True)
    deployment.store(0, 30)
    assert deployment.clients.lookup(range(30), "a") == 30


def test_lookup__other_salt__finds_nothing(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    deployment.store(0, 40)
    assert deployment.clients.lookup(range(40), "a", cache_salt="tenant") == 0


def test_lookup__shorter_than_a_chunk__finds_nothing(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    assert deployment.clients.lookup(range(3), "a") == 0
    assert deployment.clients.lookup([], "b") == 0


def test_lookup__counters__say_what_was_asked_and_found(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.serve()
    deployment.store(0, 40)
    deployment.clients.lookup(range(64), "a")
    asked = deployment.clients.counters()
    assert (asked["lookup_requests"], asked["lookup_tokens"]) == (1, 64)
    assert asked["lookup_hit_tokens"] == 40
    assert asked["lookup_seconds"] > 0
    served = deployment.servers[1].counters()
    assert (served["lookup_served_requests"], served["lookup_served_chunks"]) == (1, 8)
    assert served["lookup_served_hit_chunks"] == 5


def test_lookup__worker_does_not_answer__is_nothing_after_the_timeout(tmp_path: Path) -> None:
    release = threading.Event()
    hanging = Index(lambda prompt: release.wait(30) or 2)
    pair = Pair(f"ipc://{tmp_path}/socket", hanging, timeout_ms=100)
    started = time.monotonic()
    assert pair.client.lookup(PROMPT) == 0
    assert 0.1 <= time.monotonic() - started < 5
    assert pair.asked.snapshot()["lookup_timeouts"] == 1
    release.set()
    pair.close()
    assert hanging.forgotten == ["request"]


def test_lookup__one_question_hangs__others_are_answered(tmp_path: Path) -> None:
    release = threading.Event()

    def answer(prompt: Prompt) -> int:
        return len(prompt.hashes) if prompt.request_id == "quick" else int(release.wait(30))

    pair = Pair(f"ipc://{tmp_path}/socket", Index(answer))
    slow = threading.Thread(target=pair.client.lookup, args=[PROMPT])
    slow.start()
    assert pair.client.lookup(Prompt("quick", 20, 8, PROMPT.hashes)) == 16
    release.set()
    slow.join()
    pair.close()


def test_lookup__worker_fails__is_nothing_and_it_serves_on(pair: Pair) -> None:
    def fail(prompt: Prompt) -> int:
        raise OSError("the tier is gone")

    good, pair.index.answer = pair.index.answer, fail
    assert pair.client.lookup(PROMPT) == 0
    pair.index.answer = good
    assert pair.client.lookup(PROMPT) == 16
    assert pair.served.snapshot()["lookup_served_faults"] == 1


def test_lookup__worker_gone_for_long__is_nothing_at_once(pair: Pair) -> None:
    assert pair.client.lookup(PROMPT) == 16
    pair.server.close()
    assert pair.client.lookup(PROMPT) == 0
    started = time.monotonic()
    assert pair.client.lookup(PROMPT) == 0
    assert time.monotonic() - started < 0.5
    assert pair.asked.snapshot()["lookup_unreachable"] == 2
    pair.server = pair.serve()
    deadline = time.monotonic() + 30
    while pair.client.lookup(PROMPT) != 16:
        assert time.monotonic() < deadline


def test_lookup__server_is_made_anew_meanwhile__the_new_one_answers(pair: Pair) -> None:
    assert pair.client.lookup(PROMPT) == 16
    pair.server.close()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(pair.client.lookup(PROMPT)))
    asking.start()
    pair.server = pair.serve()
    asking.join()
    assert answers == [16]
    assert pair.asked.snapshot()["lookup_unreachable"] == 0


def test_lookup__server_closes_while_it_looks__the_question_is_answered(tmp_path: Path) -> None:
    begun = threading.Event()

    def answer(prompt: Prompt) -> int:
        begun.set()
        # A slow look: the server is closed meanwhile.
        time.sleep(0.05)
        return 2

    pair = Pair(f"ipc://{tmp_path}/socket", Index(answer))
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(pair.client.lookup(PROMPT)))
    asking.start()
    assert begun.wait(30)
    pair.server.close()
    asking.join()
    assert answers == [16]
    pair.client.close()


def test_lookup__worker_of_another_model__is_nothing_at_once(tmp_path: Path) -> None:
    pair = Pair(f"ipc://{tmp_path}/socket", Index(lambda prompt: 2))
    stranger = RPCLookupClient(
        Channel({0: pair.address}, pair.security), b"x" * 32, lambda: 10_000, pair.asked
    )
    assert stranger.lookup(PROMPT) == 0
    assert pair.asked.snapshot()["lookup_refusals"] == 1
    stranger.close()
    pair.close()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\xff",
        b"GET / HTTP/1.1",
        b"\x91\xa5count",
        b"\x97\xa5count\x01\xa1r\xc4\x01r\xff\xff\xc4\x01x",
    ],
)
def test_server__rubbish__is_counted_and_it_serves_on(pair: Pair, rubbish: bytes) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(pair.address)
        stranger.send(rubbish)
        eventually(lambda: pair.served.snapshot()["lookup_served_faults"] >= 1)
        stranger.close(linger=0)
    assert pair.client.lookup(PROMPT) == 16


def test_client__rubbish_before_the_answer__is_passed_over(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/socket"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(address)
        client = RPCLookupClient(
            Channel({0: address}, lambda _: NoSecurity()),
            ROOT,
            lambda: 10_000,
            LookupTally(SCHEDULER_EVENTS),
        )
        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(client.lookup(PROMPT)))
        asking.start()
        sender, _ = router.recv_multipart()
        for message in (b"\xff", b"\x93\xa6answer\x63\x01", b"\x93\xa6answer\x01\x01"):
            router.send_multipart([sender, message])
        asking.join()
        client.close()
    assert answers == [8]


@pytest.mark.parametrize("impossible", [-1, 3, 1 << 40])
def test_client__answer_that_cannot_be__counts_as_nothing(tmp_path: Path, impossible: int) -> None:
    pair = Pair(f"ipc://{tmp_path}/socket", Index(lambda prompt: impossible))
    assert pair.client.lookup(PROMPT) == 0
    assert pair.asked.snapshot()["lookup_refusals"] == 1
    pair.close()


def test_server__address_in_use__says_so_and_takes_nothing_away(pair: Pair) -> None:
    with pytest.raises(LookupUnavailable, match="lmcache_instance_id"):
        pair.serve()
    assert pair.client.lookup(PROMPT) == 16


def test_server__file_left_by_a_killed_process__is_replaced(tmp_path: Path) -> None:
    (tmp_path / "socket").touch()
    pair = Pair(f"ipc://{tmp_path}/socket", Index(lambda prompt: 1))
    assert pair.client.lookup(PROMPT) == 8
    pair.close()


def test_server__directory_that_others_may_write__is_refused(
    deploy: Deploy, own_runtime_directory: Path
) -> None:
    own_runtime_directory.mkdir()
    own_runtime_directory.chmod(0o777)
    deployment = deploy()
    with pytest.raises(LookupUnavailable, match="others may write"):
        deployment.servers[0].create()
    assert deployment.servers[0].server_name == "None"


def test_server__made_in_a_fresh_directory__nobody_else_may_enter_it(
    deploy: Deploy, own_runtime_directory: Path
) -> None:
    deploy().serve()
    assert own_runtime_directory.stat().st_mode & 0o777 == 0o700


def test_server__any_umask__nobody_else_may_connect(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = Listener(f"ipc://{tmp_path}/socket", NoSecurity())
    finally:
        os.umask(before)
    assert (tmp_path / "socket").stat().st_mode & 0o077 == 0
    listener.close()


def test_create__hundreds_of_workers__are_all_connected_to(tmp_path: Path) -> None:
    config = EngineConfig.load(flags={"world_size": 400, "lmcache_instance_id": "wide"})
    clients = LookupClients(config, scheduler_metadata(config, "engine"), LocalWorkers())
    assert clients.create().new == "LMCacheLookupClient"
    clients.shut_down()


def test_create__no_more_files__is_refused_with_a_remedy_and_the_old_one_stays() -> None:
    config = EngineConfig.load(flags={"world_size": 64, "lmcache_instance_id": "narrow"})
    clients = LookupClients(config, scheduler_metadata(config, "engine"), LocalWorkers())
    clients.create()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_highest_file() + 20, limits[1]))
    try:
        with pytest.raises(LookupUnavailable, match="lookup_server_worker_ids"):
            clients.create()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert clients.client_name == "LMCacheLookupClient"
    clients.shut_down()


def _highest_file() -> int:
    return max(int(file.name) for file in Path("/proc/self/fd").iterdir())


def free_port() -> int:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        return router.bind_to_random_port("tcp://127.0.0.1")


def test_lookup__over_tcp__is_encrypted_and_answered(deploy: Deploy) -> None:
    urls = [f"tcp://127.0.0.1:{free_port()}", f"tcp://localhost:{free_port()}"]
    deployment = deploy(lookup_server_urls=urls, agent_token="secret")
    deployment.serve()
    deployment.store(0, 40)
    assert deployment.clients.lookup(range(64), "a") == 40


@pytest.mark.parametrize("security", [CurveSecurity("guess"), NoSecurity()])
def test_lookup__over_tcp_without_the_token__gets_no_answer(security: Security) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    index = Index(lambda prompt: 2)
    server = LookupServer(
        Listener(address, CurveSecurity("secret")), index, ROOT, LookupTally(WORKER_EVENTS)
    )
    asked = LookupTally(SCHEDULER_EVENTS)
    client = RPCLookupClient(Channel({0: address}, lambda _: security), ROOT, lambda: 300, asked)
    assert client.lookup(PROMPT) == 0
    assert asked.snapshot()["lookup_timeouts"] == 1
    client.close()
    server.close()


def test_server__port_in_use__says_so() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        address = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
        with pytest.raises(LookupUnavailable, match="lookup_server_urls"):
            Listener(address, NoSecurity())


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"lookup_server_urls": ["tcp://10.0.0.1:70"]}, "agent_token"),
        ({"lookup_server_urls": ["tcp://db:70"]}, "agent_token"),
        ({"lookup_server_urls": ["tcp://127.0.0.1:70", "tcp://127.0.0.1:71"]}, "world_size"),
        ({"lookup_server_urls": ["http://127.0.0.1:70"]}, "lookup_server_urls"),
        ({"lookup_server_urls": ["tcp://127.0.0.1"]}, "lookup_server_urls"),
        ({"lookup_server_urls": ["ipc://relative"]}, "lookup_server_urls"),
        ({"lookup_server_worker_ids": [1]}, "lookup_server_worker_ids"),
        (
            {
                "lookup_server_urls": ["ipc:///a", "ipc:///a"],
                "world_size": 2,
            },
            "twice",
        ),
    ],
)
def test_configuration__addresses_that_cannot_be__are_refused(
    keys: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        EngineConfig.load(flags=keys)


def test_configuration__worker_that_does_not_exist__cannot_be_set_live() -> None:
    config = EngineConfig.load()
    errors = config.update({"lookup_server_worker_ids": [0, 1]}).errors
    assert "worker 1" in errors["lookup_server_worker_ids"]
    assert config.lookup_server_worker_ids is None


def test_addresses__engines_of_one_machine__differ(tmp_path: Path) -> None:
    one = EngineConfig.load(flags={"lmcache_instance_id": "one" * 80})
    other = EngineConfig.load(flags={"lmcache_instance_id": "other"})
    moved = EngineConfig.load(flags={"internal_api_server_port_start": 9000})
    addresses = {address_of(config, worker) for config in (one, other, moved) for worker in (0, 1)}
    assert len(addresses) == 6
    assert all(len(address) < 150 for address in addresses)
