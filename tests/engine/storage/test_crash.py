"""Killed in the middle of its writes, storage comes back with no wrong byte."""

import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch

from engine.storage import Count, Fault
from tests.support.crash_writer import KEYS, TOKENS, content, open_storage, write_until_killed

KILLS = 300
MOST_SECONDS_ALIVE = 0.03


@pytest.mark.slow
def test_storage__killed_while_it_writes__serves_whole_chunks_or_none(tmp_path: Path) -> None:
    # Forked from a server that has torch loaded: a fresh interpreter takes seconds.
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["tests.support.crash_writer"])
    moments = random.Random(7)
    expected = [content(number) for number in range(len(KEYS))]
    served = 0
    unfinished: set[Path] = set()
    for seed in range(KILLS):
        here, there = forking.Pipe(duplex=False)
        writer = forking.Process(target=write_until_killed, args=(str(tmp_path), seed, there))
        writer.start()
        there.close()
        try:
            assert here.poll(60), "the writer did not start"
            # Any moment will do: what is tried is that none of them does harm.
            time.sleep(moments.random() * MOST_SECONDS_ALIVE)
        finally:
            writer.kill()
            writer.join()
        here.close()
        unfinished.update(tmp_path.rglob("*tmp*"))
        served += check_everything(tmp_path, expected)
    # Else nothing was interrupted, and the test showed nothing.
    assert len(unfinished) > KILLS // 20
    assert served > KILLS


def check_everything(directory: Path, expected: list[torch.Tensor]) -> int:
    """Read every chunk from every tier, and compare; how many there were."""
    manager = open_storage(str(directory))
    served = 0
    for tier in ("LocalDiskBackend", "RemoteBackend"):
        manager.local_cpu.clear()
        for other in manager.backends:
            manager.stop_bypass(other)
            if other not in (tier, "LocalCPUBackend"):
                manager.bypass(other)
        for number, key in enumerate(KEYS):

            def compare(position: int, chunk: torch.Tensor) -> None:
                assert torch.equal(chunk, expected[number])  # noqa: B023 - called at once

            served += manager.retrieve([key], [TOKENS], 0, compare) // TOKENS
        tally = manager.tallies()[tier]
        assert tally.counts[Count.QUARANTINED_FILES] == 0
        assert tally.faults[Fault.CORRUPT] == tally.faults[Fault.FOREIGN] == 0
    manager.close()
    return served
