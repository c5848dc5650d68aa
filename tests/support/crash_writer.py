"""A process that writes chunks to disk and to a shared directory until it is killed."""

import itertools
import random
from multiprocessing.connection import Connection

import torch

from engine.config import EngineConfig
from engine.device import KVCacheSpec
from engine.storage import ChunkLayout, StorageManager, slot_stride
from engine.storage.building import build_storage
from engine.tokens import ChunkKey

NAMESPACE = "model@1@0@float32@KV_2LTD"
TOKENS = 16
SPEC = KVCacheSpec(8, 4, 32, torch.float32, 16, 4, use_mla=False)
NUM_KEYS = 24
CHUNK_BYTES = TOKENS * SPEC.bytes_per_token
KEYS = [ChunkKey(NAMESPACE, number.to_bytes(32, "big")) for number in range(NUM_KEYS)]


def content(number: int) -> torch.Tensor:
    """What is stored under KEYS[number]: no two elements of a chunk are alike."""
    shape = SPEC.chunk_shape(TOKENS)
    elements = CHUNK_BYTES // 4
    return torch.arange(number * elements, (number + 1) * elements, dtype=torch.float32).view(shape)


def open_storage(directory: str) -> StorageManager:
    """Memory for eight chunks, a disk for fewer than there are, and a shared
    directory for all."""
    config = EngineConfig.load(
        flags={
            "chunk_size": TOKENS,
            "max_local_cpu_size": 8.5 * slot_stride(CHUNK_BYTES) / (1 << 30),
            "local_disk": f"{directory}/disk-a,{directory}/disk-b",
            "max_local_disk_size": NUM_KEYS * 0.7 * CHUNK_BYTES / (1 << 30),
            "remote_url": f"fs://{directory}/shared",
        }
    )
    return build_storage(config, ChunkLayout(NAMESPACE, SPEC), torch.device("cpu"))


def write_until_killed(directory: str, seed: int, ready: Connection) -> None:
    """Store chunks in random order for ever; say when the first is under way."""
    torch.set_num_threads(1)
    numbers = random.Random(seed)
    manager = open_storage(directory)
    contents = [content(number) for number in range(NUM_KEYS)]
    for turn in itertools.count():
        chosen = numbers.sample(range(NUM_KEYS), 3)

        def copy(position: int, chunk: torch.Tensor) -> None:
            chunk.copy_(contents[chosen[position]])  # noqa: B023 - called within this turn

        manager.store([KEYS[number] for number in chosen], [TOKENS] * 3, copy)
        if turn == 0:
            ready.send(True)
        if numbers.random() < 0.1:
            manager.clear([numbers.choice(list(manager.backends))])
        manager.flush(numbers.random() * 0.01)
