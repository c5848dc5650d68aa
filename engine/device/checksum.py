"""MD5 of paged KV, to show that what was stored is what came back.

The digests are those of LMCache's `GET /cache/kvcache/check`, so that two
engines can be compared: over the bytes of a layer's K at the chunk's slots, then
its V, each [n, heads, head_size]; bfloat16 hashed as float32. MD5 because of
that, and not for security.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.contract import SlotRun
from engine.device.slots import SlotArray, slot_indices

_PIECE_BYTES = 8 << 20
"""About how much KV is copied at a time: bounds the memory that a call takes."""

_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}
"""By element size in bytes."""

LayerPlanes = Mapping[str, Sequence[torch.Tensor]]
"""By layer name its K and V, or its latent vectors: [blocks, block_size, …] each."""


def combined_checksums(layers: LayerPlanes, runs: Sequence[SlotRun], chunk_size: int) -> list[str]:
    """One hexadecimal digest a chunk of `chunk_size` slots: MD5 over the ASCII hex
    digests of its layers, layers in lexicographic order of their names."""
    names = sorted(layers)
    digests: list[str] = []
    for slots in _groups(layers, runs, chunk_size):
        by_layer = [_layer_digests(layers[name], slots, chunk_size) for name in names]
        digests.extend(
            hashlib.md5("".join(chunk).encode("ascii"), usedforsecurity=False).hexdigest()
            for chunk in zip(*by_layer, strict=True)
        )
    return digests


def layer_checksums(
    layers: LayerPlanes, runs: Sequence[SlotRun], chunk_size: int
) -> dict[str, list[str]]:
    """For every layer one hexadecimal digest a chunk of `chunk_size` slots."""
    digests: dict[str, list[str]] = {name: [] for name in layers}
    for slots in _groups(layers, runs, chunk_size):
        for name, planes in layers.items():
            digests[name].extend(_layer_digests(planes, slots, chunk_size))
    return digests


def _piece_slots(plane: torch.Tensor) -> int:
    """How many slots of a plane make one piece."""
    elements = plane[0, 0].numel()
    return max(1, _PIECE_BYTES // (elements * max(plane.dtype.itemsize, 4)))


def _groups(layers: LayerPlanes, runs: Sequence[SlotRun], chunk_size: int) -> Iterator[SlotArray]:
    """The slots, in groups of whole chunks: as many as one piece holds, so that
    small chunks do not cost one copy each, and at least one."""
    slots = slot_indices(runs)
    some_plane = next(iter(layers.values()))[0]
    size = chunk_size * max(1, _piece_slots(some_plane) // chunk_size)
    for start in range(0, slots.size, size):
        yield slots[start : start + size]


def _layer_digests(planes: Sequence[torch.Tensor], slots: SlotArray, chunk_size: int) -> list[str]:
    if slots.size > _piece_slots(planes[0]):
        return [_streamed_digest(planes, slots)]
    contents = [_read(plane, slots) for plane in planes]
    row_bytes = len(contents[0]) // slots.size
    step = chunk_size * row_bytes
    digests: list[str] = []
    for start in range(0, len(contents[0]), step):
        digest = hashlib.md5(usedforsecurity=False)
        for content in contents:
            digest.update(content[start : start + step])
        digests.append(digest.hexdigest())
    return digests


def _streamed_digest(planes: Sequence[torch.Tensor], slots: SlotArray) -> str:
    """The digest of one chunk that is longer than a piece."""
    digest = hashlib.md5(usedforsecurity=False)
    for plane in planes:
        piece = _piece_slots(plane)
        for start in range(0, slots.size, piece):
            digest.update(_read(plane, slots[start : start + piece]))
    return digest.hexdigest()


def _read(plane: torch.Tensor, slots: SlotArray) -> memoryview:
    """The bytes that are hashed for these slots of one plane."""
    block, offset = np.divmod(slots, plane.shape[1])
    if plane.device.type == "cpu":
        rows = _bits(plane)[block, offset]
    else:
        index = torch.from_numpy(block), torch.from_numpy(offset)
        rows = _bits(plane[index].cpu())
    if plane.dtype is torch.bfloat16:
        # A bfloat16 is the upper half of the float32 of the same value.
        rows = rows.astype(np.uint32)
        rows <<= 16
    return memoryview(rows.reshape(-1)).cast("B")


def _bits(values: torch.Tensor) -> npt.NDArray[np.unsignedinteger]:
    """The elements as the unsigned integers that they are in memory, not copied.

    numpy indexes and shifts them in this thread alone. torch would start OpenMP
    threads for every plane, which wait for processors that a store is using: the
    same work then takes ten times as long.
    """
    return values.view(_UNSIGNED[values.dtype.itemsize]).numpy()
