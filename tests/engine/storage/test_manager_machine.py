"""StorageManager over memory, disk and a shared directory against a simple model.

Every chunk has bytes of its own that follow from its key, so a wrong byte shows
wherever it comes from. Memory is modelled exactly: which chunks, in which order
they would be evicted. The slower tiers are as large as everything there is, so
they hold what they were given; the machine waits for their writers after each
store.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from engine.config import EngineConfig
from engine.device import KVCacheSpec
from engine.storage import ChunkLayout, Refusal, StorageManager, slot_stride
from engine.storage.building import build_storage
from engine.tokens import ChunkKey
from tests.support.redis_server import RedisServer, running_redis

NAMESPACE = "model@1@0@float32@KV_2LTD"
SPEC = KVCacheSpec(2, 1, 4, torch.float32, 4, 16, use_mla=False)
CHUNK_TOKENS = 4
HOT_SLOTS = 3
STAGING_SLOTS = 1
WAIT = 30.0

MEMORY, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"
TIERS = (MEMORY, DISK, REMOTE)


def key(number: int) -> ChunkKey:
    return ChunkKey(NAMESPACE, number.to_bytes(32, "big"))


REQUESTS = [
    [key(number) for number in numbers]
    for numbers in ([0, 1, 2, 3, 4], [0, 1, 5, 6], [7, 8], [9, 10, 11, 12, 13, 14])
]
KEYS = sorted({key for request in REQUESTS for key in request})
requests = st.builds(
    lambda request, length: request[:length],
    st.sampled_from(REQUESTS),
    st.integers(1, 6),
)


def content(key: ChunkKey) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int.from_bytes(key.chunk_hash, "big"))
    return torch.rand(SPEC.chunk_shape(CHUNK_TOKENS), generator=generator)


CONTENT = {key: content(key) for key in KEYS}


class StorageMachine(RuleBasedStateMachine):
    """The tiers below memory are those of `slow`."""

    slow: tuple[str, ...] = (DISK, REMOTE)

    def __init__(self) -> None:
        super().__init__()
        # A tier that was closed at once may still be making its directory.
        self.temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.directory = Path(self.temporary.name)
        self.order: list[ChunkKey] = []
        self.held: dict[str, set[ChunkKey]] = {name: set() for name in self.slow}
        self.start()

    def remote_url(self) -> str:
        return f"fs://{self.directory}/shared"

    def start(self) -> None:
        slots = HOT_SLOTS + (STAGING_SLOTS if self.slow else 0) + 0.5
        bytes_per_slot = slot_stride(CHUNK_TOKENS * SPEC.bytes_per_token)
        flags: dict[str, object] = {
            "chunk_size": CHUNK_TOKENS,
            "max_local_cpu_size": slots * bytes_per_slot / (1 << 30),
            "storage_queue_chunks": 64,
        }
        if DISK in self.slow:
            flags |= {"local_disk": str(self.directory / "disk"), "max_local_disk_size": 0.01}
        if REMOTE in self.slow:
            flags["remote_url"] = self.remote_url()
        self.config = EngineConfig.load(flags=flags)
        layout = ChunkLayout(NAMESPACE, SPEC)
        self.manager: StorageManager = build_storage(self.config, layout, torch.device("cpu"))
        self.frozen = False
        self.hot = True
        self.bypassed: set[str] = set()
        self.retrieve_locations: list[str] | None = None
        self.store_location: str | None = None

    def readable(self) -> list[str]:
        names = [MEMORY] if self.frozen else [MEMORY, *self.slow]
        wanted = self.retrieve_locations
        return [
            name
            for name in names
            if name not in self.bypassed and (wanted is None or name in wanted)
        ]

    def writable(self) -> list[str]:
        return [
            name
            for name in (MEMORY, *self.slow)
            if name not in self.bypassed and self.store_location in (None, name)
        ]

    def touch(self, used: list[ChunkKey]) -> None:
        if self.frozen or MEMORY in self.bypassed:
            return
        for key in reversed(used):
            self.order.remove(key)
            self.order.append(key)

    def make_room(self, pinned: set[ChunkKey]) -> bool:
        if len(self.order) < HOT_SLOTS:
            return True
        for key in self.order:
            if key not in pinned:
                self.order.remove(key)
                return True
        return False

    @rule(keys=requests)
    def store(self, keys: list[ChunkKey]) -> None:
        copied: list[ChunkKey] = []

        def copy(position: int, chunk: torch.Tensor) -> None:
            # Else most chunks would be dropped: the queues of so small a memory are short.
            assert self.manager.flush(WAIT)
            copied.append(keys[position])
            chunk.copy_(CONTENT[keys[position]])

        expected, needed, stopped = self.expect_store(keys)
        drops = {name: self.drops(name) for name in self.slow}
        outcome = self.manager.store(keys, [CHUNK_TOKENS] * len(keys), copy)
        assert self.manager.flush(WAIT)
        assert copied[: len(needed)] == needed
        if stopped is not Refusal.DROPPED:
            assert outcome.num_stored == expected * CHUNK_TOKENS
            assert outcome.stopped is stopped
            assert copied == needed
        for name in self.slow:
            self.learn_held(name, keys, was_complete=self.drops(name) == drops[name])

    def drops(self, name: str) -> int:
        return sum(self.manager.tallies()[name].drops.values())

    def expect_store(self, keys: list[ChunkKey]) -> tuple[int, list[ChunkKey], Refusal | None]:
        """Chunks newly stored, chunks copied, why it stopped. DROPPED stands for: it
        hangs on the writers' speed."""
        if self.frozen:
            return 0, [], Refusal.FROZEN
        targets = self.writable()
        if not targets:
            return 0, [], Refusal.BYPASSED
        slow = [name for name in targets if name != MEMORY]
        uses_memory = MEMORY in targets and self.hot
        used: list[ChunkKey] = []
        new: list[ChunkKey] = []
        stopped: Refusal | None = None
        for key in keys:
            if uses_memory and key not in self.order and not self.make_room(set(used)):
                if not slow:
                    stopped = Refusal.FULL
                    break
                stopped = Refusal.DROPPED
                uses_memory = False
            if uses_memory:
                if key not in self.order:
                    self.order.append(key)
                    new.append(key)
                used.append(key)
            elif slow:
                stopped = Refusal.DROPPED
        self.touch(used)
        return len(new), new, stopped

    def learn_held(self, name: str, keys: list[ChunkKey], *, was_complete: bool) -> None:
        """A tier holds what it was given, less what it says that it dropped."""
        there = self.really_held(name)
        if self.frozen or name not in self.writable():
            assert there == self.held[name]
        elif was_complete:
            assert there == self.held[name] | set(keys)
        else:
            assert self.held[name] <= there <= self.held[name] | set(keys)
        self.held[name] = there

    def really_held(self, name: str) -> set[ChunkKey]:
        backend = self.manager.backends[name]
        # Key by key: a tier may stop at the first that is not there.
        return {key for key in KEYS if backend.contains([key]) == [True]}

    @rule(keys=requests, minimum=st.sampled_from([0, 0, 0, 9]))
    def retrieve(self, keys: list[ChunkKey], minimum: int) -> None:
        got: list[ChunkKey] = []

        def copy(position: int, chunk: torch.Tensor) -> None:
            assert position == len(got)
            assert torch.equal(chunk, CONTENT[keys[position]])
            got.append(keys[position])

        expected = self.prefix(keys)
        if len(expected) * CHUNK_TOKENS < minimum:
            expected = []
        num_retrieved = self.manager.retrieve(keys, [CHUNK_TOKENS] * len(keys), minimum, copy)
        assert got == expected
        assert num_retrieved == len(got) * CHUNK_TOKENS
        self.write_back(keys, expected)

    def write_back(self, keys: list[ChunkKey], got: list[ChunkKey]) -> None:
        if MEMORY not in self.readable():
            return
        pinned = {key for key in keys if key in self.order}
        used = []
        for key in got:
            if key not in self.order:
                if self.frozen or not self.hot or not self.make_room(pinned):
                    continue
                self.order.append(key)
                pinned.add(key)
            used.append(key)
        self.touch(used)

    def prefix(self, keys: list[ChunkKey]) -> list[ChunkKey]:
        readable = self.readable()
        found = []
        for key in keys:
            in_memory = MEMORY in readable and key in self.order
            if not in_memory and not any(
                key in self.held[name] for name in self.slow if name in readable
            ):
                break
            found.append(key)
        return found

    @rule(keys=requests)
    def count_prefix(self, keys: list[ChunkKey]) -> None:
        assert self.manager.count_prefix(keys) == len(self.prefix(keys))

    @rule(names=st.lists(st.sampled_from(TIERS), max_size=2, unique=True))
    def clear(self, names: list[str]) -> None:
        names = [name for name in names if name in (MEMORY, *self.slow)]
        cleared = names or [n for n in (MEMORY, *self.slow) if n not in self.bypassed]
        expected = {
            name: len(self.order) if name == MEMORY else len(self.held[name])
            for name in (MEMORY, *self.slow)
            if name in cleared
        }
        assert self.manager.clear(names) == expected
        for name in cleared:
            if name == MEMORY:
                self.order.clear()
            else:
                self.held[name].clear()

    @rule()
    def freeze(self) -> None:
        self.manager.freeze()
        self.frozen = True

    @rule()
    def unfreeze(self) -> None:
        self.manager.unfreeze()
        self.frozen = False

    @rule()
    def disable_hot_cache(self) -> None:
        self.manager.local_cpu.disable_hot_cache()
        self.hot = False
        self.order.clear()

    @rule()
    def enable_hot_cache(self) -> None:
        self.manager.local_cpu.enable_hot_cache()
        self.hot = True

    @rule(name=st.sampled_from(TIERS))
    def bypass(self, name: str) -> None:
        if name in (MEMORY, *self.slow):
            assert self.manager.bypass(name) == (name in self.bypassed)
            self.bypassed.add(name)

    @rule(name=st.sampled_from(TIERS))
    def stop_bypass(self, name: str) -> None:
        if name in (MEMORY, *self.slow):
            assert self.manager.stop_bypass(name) == (name in self.bypassed)
            self.bypassed.discard(name)

    @rule(names=st.none() | st.lists(st.sampled_from(TIERS), unique=True))
    def choose_retrieve_locations(self, names: list[str] | None) -> None:
        assert not self.config.update({"retrieve_locations": names}).errors
        self.retrieve_locations = names

    @rule(name=st.none() | st.sampled_from(TIERS))
    def choose_store_location(self, name: str | None) -> None:
        assert not self.config.update({"store_location": name}).errors
        self.store_location = name

    @rule(serde=st.sampled_from(["naive", "zstd"]))
    def choose_serde(self, serde: str) -> None:
        assert not self.config.update({"remote_serde": serde}).errors

    @rule()
    def restart(self) -> None:
        self.manager.close()
        self.order.clear()
        self.start()

    @invariant()
    def memory_is_the_models(self) -> None:
        assert self.manager.local_cpu.keys() == self.order
        assert self.manager.bypassed == [n for n in TIERS if n in self.bypassed]
        assert self.manager.frozen == self.frozen

    @invariant()
    def bytes_in_memory_are_those_that_were_stored(self) -> None:
        pinned = self.manager.local_cpu.pin(self.order)
        for key, stored in pinned.items():
            assert torch.equal(self.manager.local_cpu.chunk(stored), CONTENT[key])
        self.manager.local_cpu.release(list(pinned.values()))

    @invariant()
    def nothing_leaks(self) -> None:
        usage = self.manager.local_cpu.usage()
        stride = slot_stride(CHUNK_TOKENS * SPEC.bytes_per_token)
        assert usage.used_bytes == len(self.order) * stride
        assert usage.capacity_bytes == HOT_SLOTS * stride
        assert self.manager.staging.used_bytes == 0

    def teardown(self) -> None:
        self.manager.close()
        self.temporary.cleanup()


class MemoryAloneMachine(StorageMachine):
    slow = ()


TestStorage = StorageMachine.TestCase
TestStorage.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMemoryAlone = MemoryAloneMachine.TestCase
TestMemoryAlone.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


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
