"""Memory for chunks: allocated once, cut into slots of one size."""

import torch


class PoolExhausted(Exception):
    """Every slot of the pool is in use."""


class MemoryPool:
    """A fixed number of equal memory slots. Allocating and freeing take constant
    time and never fragment; a partial chunk takes a whole slot.

    Not thread-safe: its owner calls it under a lock.
    """

    def __init__(self, memory: torch.Tensor) -> None:
        """`memory` is uint8 [num_slots, slot_bytes]."""
        self._memory = memory
        self._free = list(range(memory.shape[0] - 1, -1, -1))
        self._in_use = bytearray(memory.shape[0])

    @property
    def slot_bytes(self) -> int:
        return int(self._memory.shape[1])

    @property
    def capacity_bytes(self) -> int:
        return int(self._memory.numel())

    @property
    def used_bytes(self) -> int:
        return self.capacity_bytes - len(self._free) * self.slot_bytes

    @property
    def num_free(self) -> int:
        return len(self._free)

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
        return self._memory[slot]


def allocate_memory(num_slots: int, slot_bytes: int, device: torch.device) -> torch.Tensor:
    """Host memory, uint8 [num_slots, slot_bytes], for chunks of a KV cache on
    `device`: pinned for CUDA, so that copies run at bus speed. Every page is
    touched now, so that no store pays for page faults and a lack of memory shows
    at the start."""
    if device.type == "cuda":
        return torch.zeros((num_slots, slot_bytes), dtype=torch.uint8, pin_memory=True)
    return torch.empty((num_slots, slot_bytes), dtype=torch.uint8).fill_(0)
