"""A simple model of StorageManager over memory, disk and a shared directory.

Every chunk has bytes of its own that follow from its key, so a wrong byte shows
wherever it comes from. Memory is modelled exactly: which chunks, in which order
they would be evicted, which of them requests were promised, and which of those were
cleared meanwhile. Only what reading ahead evicted, maybe in vain, is learnt. The
slower tiers hold what they were given, the disk as far as it has room; the machine
waits for their writers after each store.
"""

import itertools
import tempfile
from pathlib import Path

import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.config import EngineConfig
from engine.device import KVCacheSpec
from engine.storage import ChunkLayout, Refusal, StorageManager, slot_stride
from engine.storage.building import build_storage
from engine.storage.format import HEADER_ALIGNMENT
from engine.tokens import ChunkKey

NAMESPACE = "model@1@0@float32@KV_2LTD"
SPEC = KVCacheSpec(2, 1, 4, torch.float32, 4, 16, use_mla=False)
CHUNK_TOKENS = 4
CHUNK_BYTES = CHUNK_TOKENS * SPEC.bytes_per_token
FILE_BYTES = HEADER_ALIGNMENT + CHUNK_BYTES
HOT_SLOTS = 4
MOST_PROMISED = HOT_SLOTS // 2
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
names_of_requests = st.sampled_from(["a", "b", "c"])


def content(key: ChunkKey) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int.from_bytes(key.chunk_hash, "big"))
    return torch.rand(SPEC.chunk_shape(CHUNK_TOKENS), generator=generator)


CONTENT = {key: content(key) for key in KEYS}


class StorageMachine(RuleBasedStateMachine):
    """The tiers below memory are those of `slow`; the disk has room for `disk_chunks`."""

    slow: tuple[str, ...] = (DISK, REMOTE)
    disk_chunks = len(KEYS)

    def __init__(self) -> None:
        super().__init__()
        # A tier that was closed at once may still be making its directory.
        self.temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.directory = Path(self.temporary.name)
        self.held: dict[str, set[ChunkKey]] = {name: set() for name in self.slow}
        self.broken: set[ChunkKey] = set()
        """Chunks on disk whose files do not hold."""
        self.start(self.disk_chunks)

    def remote_url(self) -> str:
        return f"fs://{self.directory}/shared"

    def start(self, disk_chunks: int) -> None:
        slots = HOT_SLOTS + (STAGING_SLOTS if self.slow else 0) + 0.5
        flags: dict[str, object] = {
            "chunk_size": CHUNK_TOKENS,
            "max_local_cpu_size": slots * slot_stride(CHUNK_BYTES) / (1 << 30),
            "storage_queue_chunks": 64,
        }
        if DISK in self.slow:
            flags["local_disk"] = str(self.directory / "disk")
            flags["max_local_disk_size"] = (disk_chunks + 0.5) * FILE_BYTES / (1 << 30)
        if REMOTE in self.slow:
            flags["remote_url"] = self.remote_url()
        self.config = EngineConfig.load(flags=flags)
        layout = ChunkLayout(NAMESPACE, SPEC)
        self.manager: StorageManager = build_storage(self.config, layout, torch.device("cpu"))
        self.order: list[ChunkKey] = []
        self.copies: dict[ChunkKey, int] = {}
        """A number for each chunk in memory, another one when it comes again."""
        self.numbers = itertools.count()
        self.promised: dict[str, list[int]] = {}
        """The copies that are kept for a request, in memory or cleared from it."""
        self.room_on_disk = disk_chunks
        self.frozen = False
        self.hot = True
        self.bypassed: set[str] = set()
        self.retrieve_locations: list[str] | None = None
        self.store_location: str | None = None

    # What the model knows

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

    def kept(self) -> set[int]:
        return {copy for copies in self.promised.values() for copy in copies}

    def cleared(self) -> set[int]:
        """Copies that are in memory for the requests that they were promised to alone."""
        return self.kept() - {self.copies[key] for key in self.order}

    def touch(self, used: list[ChunkKey]) -> None:
        if self.frozen or MEMORY in self.bypassed:
            return
        for key in reversed(used):
            self.order.remove(key)
            self.order.append(key)

    def admit(self, key: ChunkKey) -> None:
        self.order.append(key)
        self.copies[key] = next(self.numbers)

    def make_room(self, pinned: set[ChunkKey]) -> bool:
        kept = self.kept()
        if len(self.order) + len(self.cleared()) < HOT_SLOTS:
            return True
        for key in self.order:
            if key not in pinned and self.copies[key] not in kept:
                self.order.remove(key)
                return True
        return False

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

    def whole_prefix(self, keys: list[ChunkKey]) -> list[ChunkKey]:
        """The part of the prefix that can be read."""
        readable = self.readable()
        read_from_disk = self.broken if DISK in readable else set()
        in_memory = self.order if MEMORY in readable else []
        return list(
            itertools.takewhile(
                lambda key: key in in_memory or key not in read_from_disk, self.prefix(keys)
            )
        )

    # What the model learns

    def drops(self, name: str) -> int:
        return sum(self.manager.tallies()[name].drops.values())

    def learn_held(self, name: str, keys: list[ChunkKey], *, was_complete: bool) -> None:
        """A tier holds what it was given, less what it says that it dropped, and the disk
        no more than it has room for."""
        there = self.really_held(name)
        most = self.held[name] | set(keys)
        if self.frozen or name not in self.writable():
            assert there == self.held[name]
        elif name == DISK and len(most) > self.room_on_disk:
            assert there <= most
            assert not was_complete or len(there) == self.room_on_disk
        elif was_complete:
            assert there == most
        else:
            assert self.held[name] <= there <= most
        self.held[name] = there
        self.broken = {key for key in self.broken & there if not self.is_whole_on_disk(key)}

    def really_held(self, name: str) -> set[ChunkKey]:
        backend = self.manager.backends[name]
        # Key by key: a tier may stop at the first that is not there.
        return {key for key in KEYS if backend.contains([key]) == [True]}

    def learn_order(self, arrived: list[ChunkKey]) -> None:
        """Reading ahead may have evicted chunks for others that did not arrive, but none
        that is promised."""
        there = set(self.manager.local_cpu.keys())
        rest = [key for key in self.order if key in there]
        new = [key for key in arrived if key in there and key not in self.order]
        assert there == {*rest, *new}
        kept = self.kept()
        assert all(key in there for key in self.order if self.copies[key] in kept)
        self.order = rest
        for key in new:
            self.admit(key)

    def learn_broken(self) -> None:
        """What does not hold is set aside when it is read, by whoever reads it."""
        there = self.really_held(DISK)
        assert self.held[DISK] - self.broken <= there <= self.held[DISK]
        self.held[DISK] = there
        self.broken &= there

    def file_of(self, key: ChunkKey) -> Path:
        (path,) = (self.directory / "disk").glob(f"*/??/{key.chunk_hash.hex()}.kvchunk")
        return path

    def is_whole_on_disk(self, key: ChunkKey) -> bool:
        return self.file_of(key).read_bytes()[HEADER_ALIGNMENT:] == CONTENT[key].numpy().tobytes()

    # What requests do

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
            was_complete = outcome.stopped is None and self.drops(name) == drops[name]
            self.learn_held(name, keys, was_complete=was_complete)

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
                    self.admit(key)
                    new.append(key)
                used.append(key)
            elif slow:
                stopped = Refusal.DROPPED
        self.touch(used)
        return len(new), new, stopped

    @rule(keys=requests, minimum=st.sampled_from([0, 0, 0, 9]))
    def retrieve(self, keys: list[ChunkKey], minimum: int) -> None:
        got: list[ChunkKey] = []

        def copy(position: int, chunk: torch.Tensor) -> None:
            assert position == len(got)
            assert torch.equal(chunk, CONTENT[keys[position]])
            got.append(keys[position])

        found, expected = self.prefix(keys), self.whole_prefix(keys)
        if len(found) * CHUNK_TOKENS < minimum:
            found = expected = []
        num_retrieved = self.manager.retrieve(keys, [CHUNK_TOKENS] * len(keys), minimum, copy)
        assert got == expected
        assert num_retrieved == len(got) * CHUNK_TOKENS
        if expected == found:
            self.write_back(keys, expected)
        else:
            self.learn_broken()
            self.learn_order(got)
            self.touch([key for key in got if key in self.order])

    def write_back(self, keys: list[ChunkKey], got: list[ChunkKey]) -> None:
        if MEMORY not in self.readable():
            return
        pinned = {key for key in keys if key in self.order}
        used = []
        for key in got:
            if key not in self.order:
                if self.frozen or not self.hot or not self.make_room(pinned):
                    continue
                self.admit(key)
                pinned.add(key)
            used.append(key)
        self.touch(used)

    @rule(keys=requests)
    def count_prefix(self, keys: list[ChunkKey]) -> None:
        assert self.manager.count_prefix(keys) == len(self.prefix(keys))

    @rule(name=names_of_requests, keys=requests)
    def promise(self, name: str, keys: list[ChunkKey]) -> None:
        found = self.prefix(keys)
        assert self.manager.promise(name, keys) == len(found)
        self.keep(name, found)

    @rule(name=names_of_requests, keys=requests)
    def load_and_promise(self, name: str, keys: list[ChunkKey]) -> None:
        found, whole = self.prefix(keys), self.whole_prefix(keys)
        sizes = [CHUNK_TOKENS] * len(keys)
        num_found = self.manager.load_and_promise(name, keys, sizes, lambda: True)
        # Where there is no room it does not come to the broken one.
        assert num_found in (len(found), len(whole))
        if MEMORY not in self.readable():
            return
        if found != whole:
            self.learn_broken()
        # Until it was loaded, what the request was promised before was spared too.
        self.learn_order(found)
        self.keep(name, found[:num_found])

    def keep(self, name: str, found: list[ChunkKey]) -> None:
        """The request gets what is in memory of that, if not too much is promised."""
        self.promised.pop(name, None)
        in_memory = self.order if MEMORY in self.readable() else []
        copies = [self.copies[key] for key in found if key in in_memory]
        others = sum(len(each) for each in self.promised.values())
        if copies and others + len(copies) <= MOST_PROMISED:
            self.promised[name] = copies

    @rule(name=names_of_requests)
    def let_go(self, name: str) -> None:
        self.manager.let_go(name)
        self.promised.pop(name, None)

    # What operators do

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
            if name == DISK:
                self.broken.clear()

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

    @rule(keys=requests)
    def let_everything_work(self, keys: list[ChunkKey]) -> None:
        """Most orders keep requests from doing anything; without this, most requests of a
        long run would do nothing."""
        self.unfreeze()
        self.enable_hot_cache()
        for name in TIERS:
            self.stop_bypass(name)
        self.choose_retrieve_locations(None)
        self.choose_store_location(None)
        self.store(keys)

    @rule(disk_chunks=st.integers(1, len(KEYS)))
    def restart(self, disk_chunks: int) -> None:
        self.manager.close()
        assert self.manager.local_cpu.usage().used_bytes == 0
        self.start(min(disk_chunks, self.disk_chunks))
        if DISK in self.slow:
            there = self.really_held(DISK)
            assert there <= self.held[DISK]
            assert len(there) == min(len(self.held[DISK]), self.room_on_disk)
            self.held[DISK] = there
            self.broken &= there

    # What happens to the disk

    @rule(number=st.integers(0, len(KEYS) - 1))
    def break_on_disk(self, number: int) -> None:
        # One that is in memory too is not read for long.
        held = sorted(self.held.get(DISK, set()) - set(self.order))
        if not held:
            return
        key = held[number % len(held)]
        file = self.file_of(key)
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        self.broken ^= {key}

    @invariant()
    def memory_is_the_models(self) -> None:
        assert self.manager.local_cpu.keys() == self.order
        assert self.manager.bypassed == [n for n in TIERS if n in self.bypassed]
        assert self.manager.frozen == self.frozen

    @invariant()
    def promises_are_kept(self) -> None:
        usage = self.manager.holds.usage()
        copies = sum(len(each) for each in self.promised.values())
        assert (usage.requests, usage.chunks) == (len(self.promised), copies)

    @invariant()
    def bytes_in_memory_are_those_that_were_stored(self) -> None:
        pinned = self.manager.local_cpu.pin(self.order)
        for key, stored in pinned.items():
            assert torch.equal(self.manager.local_cpu.chunk(stored), CONTENT[key])
        self.manager.local_cpu.release(list(pinned.values()))

    @invariant()
    def nothing_leaks(self) -> None:
        usage = self.manager.local_cpu.usage()
        stride = slot_stride(CHUNK_BYTES)
        assert usage.used_bytes == (len(self.order) + len(self.cleared())) * stride
        assert usage.capacity_bytes == HOT_SLOTS * stride
        assert self.manager.staging.used_bytes == 0

    @invariant()
    def the_disk_holds_what_it_may(self) -> None:
        if DISK not in self.slow:
            return
        usage = self.manager.usage()[DISK]
        assert usage.chunks == len(self.held[DISK]) <= self.room_on_disk
        assert usage.used_bytes == usage.chunks * FILE_BYTES
        files = list((self.directory / "disk").glob("*/??/*"))
        assert len(files) == usage.chunks

    def teardown(self) -> None:
        self.manager.close()
        self.temporary.cleanup()
