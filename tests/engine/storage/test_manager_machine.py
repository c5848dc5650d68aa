"""StorageManager against the model, over several sets of tiers."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.redis_server import RedisServer, running_redis

from .storage_machine import DISK, REMOTE, StorageMachine


class MemoryAloneMachine(StorageMachine):
    slow = ()


class SmallDiskMachine(StorageMachine):
    slow = (DISK,)
    disk_chunks = 5


TestStorage = StorageMachine.TestCase
TestStorage.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMemoryAlone = MemoryAloneMachine.TestCase
TestMemoryAlone.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSmallDisk = SmallDiskMachine.TestCase
TestSmallDisk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class RedisMachine(StorageMachine):
    """The same on a real Redis, emptied before each run."""

    slow = (REMOTE,)
    server: RedisServer

    def __init__(self) -> None:
        with self.server.client() as client:
            client.flushall()
        super().__init__()

    def remote_url(self) -> str:
        return f"redis://{self.server.address}"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_storage__on_a_real_redis__follows_the_model(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisMachine, "server", redis, raising=False)
    run_state_machine_as_test(
        RedisMachine, settings=settings(max_examples=12, stateful_step_count=25, deadline=None)
    )
