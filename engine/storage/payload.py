"""A chunk's memory as bytes."""

import torch


def payload_of(chunk: torch.Tensor) -> memoryview:
    """The memory of a contiguous tensor as writable bytes, without a copy."""
    return chunk.view(-1).view(torch.uint8).numpy().data.cast("B")
