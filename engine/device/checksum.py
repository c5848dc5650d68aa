"""MD5 of paged KV, to show that what was stored is what came back.

The digests are those of LMCache's `GET /cache/kvcache/check`, so that two
engines can be compared: over the bytes of a layer's K at the chunk's slots, then
its V, each [n, heads, head_size]; bfloat16 hashed as float32. MD5 because of
that, and not for security.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import torch

from engine.contract import SlotRun
from engine.device.slots import slot_indices

_PIECE_BYTES = 8 << 20
"""About how much KV is copied at a time: bounds the memory that a call takes."""

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


def _groups(
    layers: LayerPlanes, runs: Sequence[SlotRun], chunk_size: int
) -> Iterator[torch.Tensor]:
    """The slots, int64 [n], in groups of whole chunks: as many as one piece holds,
    so that small chunks do not cost one copy each, and at least one."""
    slots = slot_indices(runs)
    if slots.numel() == 0:
        return
    some_plane = next(iter(layers.values()))[0]
    chunks = max(1, _piece_slots(some_plane) // chunk_size)
    yield from torch.split(slots, min(chunks * chunk_size, slots.numel()))


def _layer_digests(
    planes: Sequence[torch.Tensor], slots: torch.Tensor, chunk_size: int
) -> list[str]:
    if slots.numel() > _piece_slots(planes[0]):
        return [_streamed_digest(planes, slots)]
    contents = [_read(plane, slots) for plane in planes]
    row_bytes = len(contents[0]) // slots.numel()
    step = chunk_size * row_bytes
    digests: list[str] = []
    for start in range(0, len(contents[0]), step):
        digest = hashlib.md5(usedforsecurity=False)
        for content in contents:
            digest.update(content[start : start + step])
        digests.append(digest.hexdigest())
    return digests


def _streamed_digest(planes: Sequence[torch.Tensor], slots: torch.Tensor) -> str:
    """The digest of one chunk that is longer than a piece."""
    digest = hashlib.md5(usedforsecurity=False)
    for plane in planes:
        for piece in torch.split(slots, _piece_slots(plane)):
            digest.update(_read(plane, piece))
    return digest.hexdigest()


def _read(plane: torch.Tensor, slots: torch.Tensor) -> memoryview:
    """The bytes that are hashed for these slots of one plane."""
    block_size = plane.shape[1]
    index = slots.to(plane.device)
    rows = plane[index // block_size, index % block_size]
    if rows.dtype is torch.bfloat16:
        rows = rows.to(torch.float32)
    return rows.cpu().numpy().reshape(-1).data.cast("B")
