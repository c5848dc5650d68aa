"""Pins held for requests: every pin that is taken over is released exactly once."""

from collections.abc import Sequence

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.device import KVCacheSpec
from engine.storage import LeastRecentlyUsed, LocalCPUBackend, MemoryPool, Reservation, StoredChunk
from engine.storage.holds import Holds
from engine.tokens import ChunkKey

SPEC = KVCacheSpec(1, 1, 8, torch.float16, 1, 1, use_mla=True)
CHUNKS = 12
MOST = 6
TIMEOUT = 10.0
REQUESTS = st.sampled_from(["a", "b", "c"])


def backend() -> LocalCPUBackend:
    """Twelve chunks, stored."""
    pool = MemoryPool(torch.zeros(1 << 16, dtype=torch.uint8), SPEC.bytes_per_token, CHUNKS)
    local_cpu = LocalCPUBackend(pool, SPEC, LeastRecentlyUsed())
    for number in range(CHUNKS):
        reservation = local_cpu.prepare_store(key(number), 1)
        assert isinstance(reservation, Reservation)
        stored = local_cpu.complete_store(reservation)
        assert isinstance(stored, StoredChunk)
        local_cpu.release([stored])
    return local_cpu


def key(number: int) -> ChunkKey:
    return ChunkKey("model", number.to_bytes(32, "big"))


class HoldsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.local_cpu = backend()
        self.holds = Holds(
            self.local_cpu,
            most_chunks=MOST,
            timeout_s=lambda: TIMEOUT,
            interval_s=lambda: 3600.0,
            clock=lambda: self.now,
        )
        self.stored = self.local_cpu.pin([key(number) for number in range(CHUNKS)])
        self.local_cpu.release(list(self.stored.values()))
        self.held: dict[str, tuple[Sequence[ChunkKey], float]] = {}

    @rule(request=REQUESTS, numbers=st.lists(st.integers(0, CHUNKS - 1), unique=True))
    def hold(self, request: str, numbers: list[int]) -> None:
        keys = [key(number) for number in numbers]
        self.holds.hold(request, list(self.local_cpu.pin(keys).values()))
        self.held.pop(request, None)
        if keys and sum(len(held) for held, _ in self.held.values()) + len(keys) <= MOST:
            self.held[request] = (keys, self.now)

    @rule(request=REQUESTS)
    def release(self, request: str) -> None:
        self.holds.release(request)
        self.held.pop(request, None)

    @rule(seconds=st.floats(0, 2 * TIMEOUT))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.holds.release_expired()
        self.held = {
            request: (keys, since)
            for request, (keys, since) in self.held.items()
            if since > self.now - TIMEOUT
        }

    @invariant()
    def pins_are_those_that_are_held(self) -> None:
        pins = dict.fromkeys(self.stored, 0)
        for keys, _ in self.held.values():
            for held in keys:
                pins[held] += 1
        assert {key: stored.pins for key, stored in self.stored.items()} == pins
        assert self.holds.usage()[:2] == (len(self.held), sum(pins.values()))

    def teardown(self) -> None:
        self.holds.close()
        assert not any(stored.pins for stored in self.stored.values())


HoldsMachine.TestCase.settings = settings(max_examples=50, deadline=None)
TestHolds = HoldsMachine.TestCase


def test_hold__after_close__pins_are_released() -> None:
    local_cpu = backend()
    holds = Holds(local_cpu, most_chunks=6, timeout_s=lambda: 1.0, interval_s=lambda: 1.0)
    holds.close()
    pinned = list(local_cpu.pin([key(0)]).values())
    holds.hold("a", pinned)
    assert [stored.pins for stored in pinned] == [0]
