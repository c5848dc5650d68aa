"""Moving KV between a paged cache and chunks.

Both sides are seen as planes: the K, V or latent vectors of one layer. A paged
cache is [blocks, planes, block_size, hidden], a chunk [planes, tokens, hidden].
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from engine.contract import SlotRun
from engine.contract.values import join_runs
from engine.device.slots import block_spans, slot_indices


class Transfer(Protocol):
    """Copies KV at slots that are known to exist."""

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        """Copy the slots' KV into `chunk`, [planes, tokens, hidden] in host memory."""

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        """Copy `chunk` to the slots."""


class HostTransfer:
    """Copies within host memory, once, straight to the destination.

    One strided copy a span covers all layers. Measured against copies per layer
    and against index_select / index_copy_ by block, it is the fastest for
    contiguous slots and for scattered blocks alike; torch copies without the GIL.
    """

    def __init__(self, blocks: torch.Tensor) -> None:
        """`blocks` is [blocks, planes, block_size, hidden]."""
        self._blocks = blocks

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        for part, cached in self._pairs(runs, chunk):
            part.copy_(cached)

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        for part, cached in self._pairs(runs, chunk):
            cached.copy_(part)

    def _pairs(
        self, runs: Sequence[SlotRun], chunk: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Views of the same tokens in the chunk and in the cache, equal in shape."""
        block_size = self._blocks.shape[2]
        start = 0
        for run in join_runs(runs):
            for span in block_spans(run, block_size):
                end = start + span.length
                part = chunk[:, start:end]
                if span.length == span.num_blocks * block_size:
                    whole = self._blocks[span.first_block : span.first_block + span.num_blocks]
                    yield (
                        part.view(len(part), span.num_blocks, block_size, -1),
                        whole.transpose(0, 1),
                    )
                else:
                    slots = slice(span.offset, span.offset + span.length)
                    yield part, self._blocks[span.first_block, :, slots]
                start = end


class CudaTransfer:
    """Copies between CUDA and pinned host memory, on a stream of its own.

    The slots are gathered on the device first, so that one copy of contiguous
    memory crosses the bus; a strided copy across devices would be staged by
    torch in pageable memory.
    """

    def __init__(self, blocks: torch.Tensor) -> None:
        """`blocks` is [blocks, planes, block_size, hidden] on a CUDA device."""
        self._blocks = blocks
        self._stream = torch.cuda.Stream(blocks.device)  # type: ignore[no-untyped-call]

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        producer = torch.cuda.current_stream(self._blocks.device)
        with torch.cuda.stream(self._stream):
            self._stream.wait_stream(producer)
            block, offset = self._locate(runs)
            staged = self._blocks[block, :, offset].transpose(0, 1).contiguous()
            chunk.copy_(staged, non_blocking=True)
            self._stream.synchronize()

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        consumer = torch.cuda.current_stream(self._blocks.device)
        with torch.cuda.stream(self._stream):
            self._stream.wait_stream(consumer)
            block, offset = self._locate(runs)
            staged = chunk.to(self._blocks.device, non_blocking=True)
            self._blocks[block, :, offset] = staged.transpose(0, 1)
            self._stream.synchronize()

    def _locate(self, runs: Sequence[SlotRun]) -> tuple[torch.Tensor, torch.Tensor]:
        """Block and offset of each slot, int64 [n] each, on the device."""
        slots = torch.from_numpy(slot_indices(runs)).to(self._blocks.device)
        block_size = self._blocks.shape[2]
        return slots // block_size, slots % block_size


def transfer_for(blocks: torch.Tensor) -> Transfer:
    """The transfer for the device that `blocks` lies on."""
    if blocks.device.type == "cuda":
        return CudaTransfer(blocks)
    return HostTransfer(blocks)
