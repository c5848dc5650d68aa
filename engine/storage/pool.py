"""Memory for chunks: cut into slots of one size, handed out in constant time."""

import logging
import threading
from collections.abc import Callable

import torch

from engine.storage.memory import PAGE_BYTES, HostMemory, MemoryUnavailable
from engine.threads import start_if_possible, step_back

logger = logging.getLogger(__name__)
_NICENESS = 10


class PoolExhausted(Exception):
    """Every slot that is backed by memory is in use."""


class MemoryPool:
    """Equal memory slots, each at a page border. Allocating and freeing take
    constant time and never fragment; a partial chunk takes a whole slot.

    Not thread-safe: its owner calls it under a lock.
    """

    def __init__(self, memory: torch.Tensor, slot_bytes: int, num_slots: int) -> None:
        """`memory` is uint8 [at least num_slots * slot_stride(slot_bytes)]; all slots
        can be handed out at once."""
        self.slot_bytes = slot_bytes
        self.num_slots = num_slots
        self._stride = slot_stride(slot_bytes)
        self._memory = memory
        self._free = list(range(num_slots - 1, -1, -1))
        self._in_use = bytearray(num_slots)

    @property
    def capacity_bytes(self) -> int:
        return self.num_slots * self._stride

    @property
    def used_bytes(self) -> int:
        return self.num_used * self._stride

    @property
    def num_used(self) -> int:
        return self.num_slots - len(self._free)

    def has_room(self) -> bool:
        """Whether `allocate` gives a slot now."""
        return bool(self._free)

    def allocate(self) -> int:
        """Take a slot and return its number. Raises PoolExhausted."""
        if not self._free:
            raise PoolExhausted("No memory slot is free; free one first.")
        slot = self._free.pop()
        self._in_use[slot] = 1
        return slot

    def free(self, slot: int) -> None:
        """Give a slot back. Raises ValueError if it is not in use."""
        if not self._in_use[slot]:
            raise ValueError(f"Memory slot {slot} is not in use.")
        self._in_use[slot] = 0
        self._free.append(slot)

    def memory(self, slot: int) -> torch.Tensor:
        """The slot's memory, uint8 [slot_bytes]; its content is whatever was left."""
        start = slot * self._stride
        return self._memory[start : start + self.slot_bytes]


class GrowingPool(MemoryPool):
    """A pool whose memory is taken from the system ahead of need, by a thread.

    A slot is handed out only once memory backs it. While there is none the pool
    is smaller, and its owner evicts; nobody waits for the system.
    """

    def __init__(
        self,
        memory: HostMemory,
        slot_bytes: int,
        num_slots: int,
        *,
        trigger: Callable[[], float],
        step: Callable[[], float],
    ) -> None:
        """What `memory` has ready is handed out at once. Above a part of `trigger` in
        use, `step` of the whole is taken more."""
        super().__init__(memory.bytes, slot_bytes, num_slots)
        self._host_memory = memory
        self._trigger = trigger
        self._step = step
        self._ready_slots = 0
        self._free = []
        self._add_ready()
        # Held while a thread grows the memory, and for good once the system refused.
        self._growing = threading.Lock()

    def has_room(self) -> bool:
        """Whether `allocate` gives a slot now. Taking more memory begins here, when
        little is left."""
        if self._ready_slots < self.num_slots:
            self._add_ready()
            self._grow_if_needed()
        return bool(self._free)

    @property
    def num_used(self) -> int:
        return self._ready_slots - len(self._free)

    def _add_ready(self) -> None:
        ready = min(self.num_slots, self._host_memory.ready // self._stride)
        self._free[:0] = range(ready - 1, self._ready_slots - 1, -1)
        self._ready_slots = ready

    def _grow_if_needed(self) -> None:
        if self._free and self.num_used < self._ready_slots * self._trigger():
            return
        if self._growing.acquire(blocking=False):
            more = max(1, int(self.num_slots * self._step()))
            goal = (self._ready_slots + more) * self._stride
            growing = threading.Thread(target=self._grow, args=(goal,), name="pool", daemon=True)
            if not start_if_possible(growing):
                self._growing.release()

    def _grow(self, goal: int) -> None:
        step_back(_NICENESS)
        try:
            self._host_memory.grow(goal)
        except MemoryUnavailable as error:
            logger.warning("CPU memory for chunks stays as it is: %s", error)
            return
        self._growing.release()


def slot_stride(slot_bytes: int) -> int:
    """Bytes from one slot to the next: whole pages, for direct I/O."""
    return -(-slot_bytes // PAGE_BYTES) * PAGE_BYTES
