"""MD5 of paged KV, to show that what was stored is what came back.

The digests are those of LMCache's `GET /cache/kvcache/check`, so that two
engines can be compared: over the bytes of a layer's K at the chunk's slots, then
its V, each [n, heads, head_size]; bfloat16 hashed as float32. MD5 because of
that, and not for security.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
import numpy.typing as npt
import torch

from engine.contract import SlotRun, count_slots
from engine.device.slots import SlotArray, slot_indices, split_runs
from engine.threads import step_back

_PIECE_BYTES = 256 << 10
"""About how much KV is copied at a time: a processor's own cache holds it until it
is hashed, and hashing it is long enough for other threads to get the interpreter."""

_UNIT_BYTES = 4 << 20
"""About how much KV a thread hashes before it takes the next unit."""

_GROUP_SLOTS = 4_096
"""About how many slots are hashed before their layers' digests are combined:
bounds the memory that a call takes."""

EVERY_PROCESSOR = min(os.cpu_count() or 1, 32)
"""Hashing threads for a process that does little else. Hashing runs beside the
interpreter, copying does not quite: more threads would wait for it, and keep others
waiting."""

_NICENESS = 19
"""Of the threads of a long check. It must not be felt by what the processors are for."""

_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}
"""By element size in bytes."""

Planes = Sequence[torch.Tensor]
"""K and V of a layer, or its latent vectors: [blocks, block_size, …] each."""
LayerPlanes = Mapping[str, Planes]
"""By layer name."""


def combined_checksums(
    layers: LayerPlanes,
    runs: Sequence[SlotRun],
    chunk_size: int,
    num_threads: int = EVERY_PROCESSOR,
) -> list[str]:
    """One hexadecimal digest a chunk of `chunk_size` slots: MD5 over the ASCII hex
    digests of its layers, layers in lexicographic order of their names. A long check
    takes `num_threads` threads of the lowest priority."""
    names = sorted(layers)
    digests: list[str] = []
    for group in _group_digests(layers, runs, chunk_size, num_threads):
        by_layer = [group[name] for name in names]
        digests.extend(
            hashlib.md5("".join(chunk).encode("ascii"), usedforsecurity=False).hexdigest()
            for chunk in zip(*by_layer, strict=True)
        )
    return digests


def layer_checksums(
    layers: LayerPlanes,
    runs: Sequence[SlotRun],
    chunk_size: int,
    num_threads: int = EVERY_PROCESSOR,
) -> dict[str, list[str]]:
    """For every layer one hexadecimal digest a chunk of `chunk_size` slots. Threads are
    as for combined_checksums."""
    digests: dict[str, list[str]] = {name: [] for name in layers}
    for group in _group_digests(layers, runs, chunk_size, num_threads):
        for name, found in group.items():
            digests[name].extend(found)
    return digests


def _group_digests(
    layers: LayerPlanes, runs: Sequence[SlotRun], chunk_size: int, num_threads: int
) -> Iterator[dict[str, list[str]]]:
    """By layer the digests of one group of chunks after the other."""
    slot_bytes = _slot_bytes(layers)
    unit = chunk_size * _fitting(_UNIT_BYTES, chunk_size * slot_bytes)
    if count_slots(runs) * slot_bytes * len(layers) <= _UNIT_BYTES:
        # Starting threads would take longer than hashing.
        slots = slot_indices(runs)
        yield {name: _layer_digests(layers[name], slots, chunk_size) for name in layers}
        return
    with ThreadPoolExecutor(num_threads, "checksum", step_back, (_NICENESS,)) as threads:
        for part in split_runs(runs, chunk_size * _fitting(_GROUP_SLOTS, chunk_size)):
            slots = slot_indices(part)
            starts = range(0, slots.size, unit)
            names = [name for name in layers for _ in starts]
            units = [slots[start : start + unit] for _ in layers for start in starts]
            group: dict[str, list[str]] = {name: [] for name in layers}
            planes = [layers[name] for name in names]
            found = threads.map(_layer_digests, planes, units, repeat(chunk_size))
            for name, digests in zip(names, found, strict=True):
                group[name].extend(digests)
            yield group


def _fitting(room: int, size: int) -> int:
    """How many of that size the room holds, and at least one."""
    return max(1, room // size)


def _slot_bytes(layers: LayerPlanes) -> int:
    """Bytes that are hashed for one slot of one layer."""
    planes = next(iter(layers.values()))
    return sum(_row_bytes(plane) for plane in planes)


def _row_bytes(plane: torch.Tensor) -> int:
    """Bytes that are hashed for one slot of one plane."""
    itemsize = 4 if plane.dtype is torch.bfloat16 else plane.dtype.itemsize
    return plane[0, 0].numel() * itemsize


def _layer_digests(planes: Planes, slots: SlotArray, chunk_size: int) -> list[str]:
    """One digest a chunk of one layer. Small chunks share a copy."""
    size = chunk_size * (_fitting(_PIECE_BYTES, _row_bytes(planes[0])) // chunk_size)
    if size == 0:
        chunks = range(0, slots.size, chunk_size)
        return [_streamed_digest(planes, slots[start : start + chunk_size]) for start in chunks]
    pieces = (slots[start : start + size] for start in range(0, slots.size, size))
    return [digest for piece in pieces for digest in _piece_digests(planes, piece, chunk_size)]


def _piece_digests(planes: Planes, slots: SlotArray, chunk_size: int) -> Iterator[str]:
    contents = [_read(plane, slots) for plane in planes]
    step = chunk_size * len(contents[0]) // slots.size
    for start in range(0, len(contents[0]), step):
        digest = hashlib.md5(usedforsecurity=False)
        for content in contents:
            digest.update(content[start : start + step])
        yield digest.hexdigest()


def _streamed_digest(planes: Planes, slots: SlotArray) -> str:
    """The digest of one chunk that is longer than a piece."""
    digest = hashlib.md5(usedforsecurity=False)
    for plane in planes:
        size = _fitting(_PIECE_BYTES, _row_bytes(plane))
        for start in range(0, slots.size, size):
            digest.update(_read(plane, slots[start : start + size]))
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
