"""Moving KV between a paged cache and chunks.

Both sides are seen as planes: the K, V or latent vectors of one layer. A paged
cache is [blocks, planes, block_size, hidden], a chunk [planes, tokens, hidden].
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from engine.contract import SlotRun
from engine.device.host_transfer import HostTransfer
from engine.device.staged_transfer import StagedTransfer


class Transfer(Protocol):
    """Copies KV at slots that are known to exist."""

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        """Copy the slots' KV into `chunk`, [planes, tokens, hidden] in host memory."""

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        """Copy `chunk` to the slots, no two of which are the same."""


def transfer_for(blocks: torch.Tensor) -> Transfer:
    """The transfer for the device that `blocks` lies on."""
    if blocks.device.type == "cpu":
        return HostTransfer(blocks)
    return StagedTransfer(blocks)
