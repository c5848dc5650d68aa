"""What the scheduler's side tells the workers' side to do in one step."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from engine.contract import SlotRun
from engine.contract.values import join_runs


@dataclass(frozen=True)
class LoadPlan:
    """Bring the KV of whole chunks to blocks that nobody reads before it is reported.
    `hashes` are of the chunks that hold the tokens, which begin `offset` tokens after
    the start of the first; `block_ids` are where they belong, one for each block of
    tokens."""

    request_id: str
    hashes: Sequence[bytes]
    offset: int
    block_ids: Sequence[int]


@dataclass(frozen=True)
class SavePlan:
    """Keep whole chunks that lie in these blocks after the step."""

    request_id: str
    hashes: Sequence[bytes]
    block_ids: Sequence[int]


@dataclass
class StepPlan(KVConnectorMetadata):
    """One step. Blocks of `preempted` requests are about to be given to others; those
    of `awaited` requests are kept until their saves are reported as done. `clears`:
    before anything else, forget all chunks."""

    loads: list[LoadPlan] = field(default_factory=list)
    saves: list[SavePlan] = field(default_factory=list)
    preempted: set[str] = field(default_factory=set)
    awaited: set[str] = field(default_factory=set)
    clears: bool = False


@dataclass
class WorkerReport(KVConnectorWorkerMetadata):
    """What happened since the last report: how many saves of each request are done, on
    all workers together, and whose loads failed on some worker."""

    saved: dict[str, int]
    failed: set[str]

    def aggregate(self, other: KVConnectorWorkerMetadata) -> "WorkerReport":
        if not isinstance(other, WorkerReport):
            raise TypeError(f"Not a report of KVPlane: {other!r}")
        names = self.saved.keys() | other.saved.keys()
        saved = {name: self.saved.get(name, 0) + other.saved.get(name, 0) for name in names}
        return WorkerReport(saved, self.failed | other.failed)


def slots_of(block_ids: Sequence[int], block_size: int) -> list[SlotRun]:
    """The slots of the blocks, in order."""
    runs = [
        SlotRun(block_id * block_size, (block_id + 1) * block_size - 1) for block_id in block_ids
    ]
    return list(join_runs(runs))
