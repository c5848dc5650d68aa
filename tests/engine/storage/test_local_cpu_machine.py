"""LocalCPUBackend against a model that is a policy, which knows no pins, and three flags."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from engine.device import KVCacheSpec
from engine.storage import (
    POLICIES,
    LocalCPUBackend,
    MemoryPool,
    Refusal,
    Reservation,
    StoredChunk,
    slot_stride,
)
from engine.tokens import ChunkKey

CAPACITY = 4
SPEC = KVCacheSpec(1, 1, 2, torch.float32, 1, 8, use_mla=True)
STRIDE = slot_stride(SPEC.bytes_per_token)
KEYS = [ChunkKey("test", bytes([number])) for number in range(7)]


class LocalCPUMachine(RuleBasedStateMachine):
    reservations = Bundle("reservations")
    pins = Bundle("pins")
    policy = "LRU"

    def __init__(self) -> None:
        super().__init__()
        memory = torch.zeros(CAPACITY * STRIDE, dtype=torch.uint8)
        pool = MemoryPool(memory, SPEC.bytes_per_token, CAPACITY)
        self.backend = LocalCPUBackend(pool, SPEC, POLICIES[self.policy]())
        self.model = POLICIES[self.policy]()
        self.content: dict[ChunkKey, int] = {}
        self.pinned: list[StoredChunk] = []
        self.open: list[Reservation] = []
        self.stale: list[Reservation] = []
        self.frozen = False
        self.hot = True
        self.bypassed = False
        self.writes = 0

    @property
    def order(self) -> list[ChunkKey]:
        return list(self.model.coldest_first())

    def pins_on(self, key: ChunkKey) -> int:
        return sum(1 for stored in self.pinned if stored.key == key and stored.is_indexed)

    def used_slots(self) -> int:
        cleared = {id(stored) for stored in self.pinned if not stored.is_indexed}
        return len(self.order) + len(self.open) + len(cleared)

    def refusal(self) -> Refusal | None:
        if self.frozen:
            return Refusal.FROZEN
        if not self.hot:
            return Refusal.HOT_CACHE_OFF
        return Refusal.BYPASSED if self.bypassed else None

    @rule(target=reservations, key=st.sampled_from(KEYS))
    def prepare_store(self, key: ChunkKey) -> list[Reservation]:
        victims = [other for other in self.order if self.pins_on(other) == 0]
        was_full = self.used_slots() == CAPACITY
        answer = self.backend.prepare_store(key, 1)
        if self.refusal() is not None:
            assert answer is self.refusal()
        elif key in self.order:
            assert isinstance(answer, StoredChunk)
            self.pinned.append(answer)
        elif was_full and not victims:
            assert answer is Refusal.FULL
        else:
            assert isinstance(answer, Reservation)
            if was_full:
                self.model.remove(victims[0])
            self.writes += 1
            answer.chunk.fill_(self.writes)
            self.open.append(answer)
            return [answer]
        return []

    @rule(target=pins, taken=consumes(reservations))
    def complete_store(self, taken: list[Reservation]) -> list[StoredChunk]:
        if not taken:
            return []
        reservation = taken[0]
        self.open.remove(reservation)
        answer = self.backend.complete_store(reservation)
        if self.refusal() is not None or reservation in self.stale:
            assert answer is (self.refusal() or Refusal.CLEARED)
            assert reservation.is_open
            self.backend.abort_store(reservation)
            return []
        assert isinstance(answer, StoredChunk)
        if reservation.key not in self.order:
            assert answer.slot == reservation.slot
            self.model.insert(reservation.key)
            self.content[reservation.key] = int(reservation.chunk.flatten()[0])
        self.pinned.append(answer)
        return [answer]

    @rule(taken=consumes(reservations))
    def abort_store(self, taken: list[Reservation]) -> None:
        for reservation in taken:
            self.open.remove(reservation)
            self.backend.abort_store(reservation)
            self.backend.abort_store(reservation)

    @rule(target=pins, keys=st.lists(st.sampled_from(KEYS), max_size=4, unique=True))
    def pin(self, keys: list[ChunkKey]) -> list[StoredChunk]:
        present = [key for key in keys if key in self.order]
        assert self.backend.contains(keys) == [key in present for key in keys]
        answer = self.backend.pin(keys)
        assert list(answer) == present
        self.pinned.extend(answer.values())
        return list(answer.values())

    @rule(target=pins, held=pins)
    def pin_again(self, held: list[StoredChunk]) -> list[StoredChunk]:
        again = [stored for stored in held if stored in self.pinned]
        for stored in again:
            self.backend.pin_again(stored)
        self.pinned.extend(again)
        return again

    @rule(held=consumes(pins))
    def release(self, held: list[StoredChunk]) -> None:
        self.backend.release(held)
        for stored in held:
            self.pinned.remove(stored)

    @rule(held=consumes(pins))
    def touch_and_release(self, held: list[StoredChunk]) -> None:
        self.backend.touch(held)
        if not self.frozen and not self.bypassed:
            for stored in reversed(held):
                if stored.is_indexed:
                    self.model.touch(stored.key)
        self.release(held)

    @rule()
    def clear(self) -> None:
        assert self.backend.clear() == len(self.order)
        self.forget_all()

    @rule()
    def freeze(self) -> None:
        self.backend.freeze()
        self.frozen = True

    @rule()
    def unfreeze(self) -> None:
        self.backend.unfreeze()
        self.frozen = False

    @rule()
    def bypass(self) -> None:
        self.backend.bypass()
        self.bypassed = True

    @rule()
    def stop_bypass(self) -> None:
        self.backend.stop_bypass()
        self.bypassed = False

    @rule()
    def disable_hot_cache(self) -> None:
        self.backend.disable_hot_cache()
        self.hot = False
        self.forget_all()

    @rule()
    def enable_hot_cache(self) -> None:
        self.backend.enable_hot_cache()
        self.hot = True

    def forget_all(self) -> None:
        self.model = POLICIES[self.policy]()
        self.stale.extend(self.open)

    @invariant()
    def order_is_the_models(self) -> None:
        assert self.backend.keys() == self.order

    @invariant()
    def memory_is_what_the_model_holds(self) -> None:
        usage = self.backend.usage()
        assert usage.chunks == len(self.order)
        assert usage.used_bytes == self.used_slots() * STRIDE
        assert usage.used_bytes <= usage.capacity_bytes

    @invariant()
    def bytes_are_what_was_written(self) -> None:
        found = list(self.backend.pin(self.order).values())
        held = [stored for stored in self.pinned if stored.is_indexed]
        for stored in [*found, *held]:
            assert bool((self.backend.chunk(stored) == self.content[stored.key]).all())
        self.backend.release(found)

    @invariant()
    def memory_is_never_shared(self) -> None:
        held = {id(stored): stored.slot for stored in self.pinned if not stored.is_indexed}
        found = list(self.backend.pin(self.order).values())
        slots = [stored.slot for stored in found]
        self.backend.release(found)
        slots += [reservation.slot for reservation in self.open]
        slots += held.values()
        assert len(slots) == len(set(slots))

    def teardown(self) -> None:
        """No leak: with everything given back and cleared, all memory is free."""
        for reservation in self.open:
            self.backend.abort_store(reservation)
        self.backend.release(self.pinned)
        self.backend.clear()
        assert self.backend.usage().used_bytes == 0


class LFUMachine(LocalCPUMachine):
    policy = "LFU"


class FIFOMachine(LocalCPUMachine):
    policy = "FIFO"


class MRUMachine(LocalCPUMachine):
    policy = "MRU"


TestLRU = LocalCPUMachine.TestCase
TestLFU = LFUMachine.TestCase
TestFIFO = FIFOMachine.TestCase
TestMRU = MRUMachine.TestCase
for case in (TestLRU, TestLFU, TestFIFO, TestMRU):
    case.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
del case
