import subprocess
import sys

import pytest
import torch

from engine.storage.chunk import BackendUsage
from engine.storage.tally import Count, Drop
from tests.support.processes import ROOT, clean_environment
from tests.support.remote import Leases, backend, chunk, key, layout, load, same_bytes, store

from .mediums import Medium, counted, dropped, faults


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8], ids=str)
@pytest.mark.parametrize("serde", ["naive", "zstd"])
def test_load__what_was_stored__is_equal_byte_for_byte(
    medium: Medium, serde: str, dtype: torch.dtype
) -> None:
    of = layout(dtype)
    with backend(medium.url, of, serde=serde) as remote:
        store(remote, of, [1, 2, 3])
        found = load(remote, of, [1, 2, 3])
        assert all(same_bytes(each, chunk(of, n)) for each, n in zip(found, [1, 2, 3], strict=True))
        assert counted(remote, Count.STORED_CHUNKS) == counted(remote, Count.LOADED_CHUNKS) == 3
        size = sum(len(medium.read(of, number)) for number in (1, 2, 3))
        assert counted(remote, Count.STORED_BYTES) == counted(remote, Count.LOADED_BYTES) == size
        assert counted(remote, Count.STORE_SECONDS) > 0 < counted(remote, Count.LOAD_SECONDS)
        assert faults(remote) == dropped(remote) == {}
        assert remote.usage() == BackendUsage(0, 0, 3)


def test_load__gap__ends_there(medium: Medium) -> None:
    of = layout()
    with backend(medium.url, of) as remote:
        store(remote, of, [1, 2, 4])
        keys = [key(of, number) for number in (1, 2, 3, 4)]
        assert remote.contains(keys) == [True, True, False, False]
        assert len(load(remote, of, [1, 2, 3, 4])) == 2
        assert load(remote, of, [3, 4]) == []
        assert remote.load([]) == 0
        assert remote.contains([]) == []
        assert faults(remote) == {}


def test_store__another_engine_did__is_not_sent_again(medium: Medium) -> None:
    of = layout()
    with backend(medium.url, of) as first, backend(medium.url, of, serde="zstd") as second:
        store(first, of, [1, 3])
        before = medium.read(of, 1)
        store(second, of, [1, 2, 3, 4])
        assert medium.read(of, 1) == before
        assert counted(second, Count.STORED_CHUNKS) == 2
        assert dropped(second) == {}
        for remote in (first, second):
            found = load(remote, of, [1, 2, 3, 4])
            assert [same_bytes(found[i], chunk(of, i + 1)) for i in range(4)] == [True] * 4


WRITER = """
import sys, torch
from tests.support.remote import Leases, backend, key, layout, store
from engine.storage.format import ChunkLayout
url, namespace, serde = sys.argv[1:]
of = ChunkLayout(namespace, layout().spec)
with backend(url, of, serde=serde) as remote:
    for _ in range(20):
        store(remote, of, range(8))
        remote.clear()
    store(remote, of, range(8))
"""


@pytest.mark.slow
def test_load__processes_write_and_clear_the_same_keys__never_sees_another_byte(
    medium: Medium,
) -> None:
    of = layout()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, medium.url, of.namespace, serde],
            cwd=ROOT,
            env=clean_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"),
        )
        for serde in ("naive", "zstd")
    ]
    loaded = 0
    with backend(medium.url, of, timeout_s=20.0) as remote:
        while any(writer.poll() is None for writer in writers):
            for index, found in enumerate(load(remote, of, range(8))):
                assert same_bytes(found, chunk(of, index))
                loaded += 1
        assert [writer.returncode for writer in writers] == [0, 0]
        assert loaded > 0
        assert faults(remote) == {}


def test_clear__other_namespaces__stay(medium: Medium) -> None:
    mine, other = layout(), layout()
    with backend(medium.url, mine) as remote, backend(medium.url, other) as others:
        store(remote, mine, range(20))
        store(others, other, [1])
        assert remote.clear() == 20
        assert remote.clear() == 0
        assert remote.usage() == BackendUsage(0, 0, 0)
        assert load(remote, mine, [1]) == []
        assert len(load(others, other, [1])) == 1
        store(remote, mine, [1])
        assert len(load(remote, mine, [1])) == 1


def test_freeze__offers__are_dropped_and_loads_go_on(medium: Medium) -> None:
    of = layout()
    with backend(medium.url, of) as remote:
        store(remote, of, [1])
        remote.freeze()
        leases = Leases(of)
        assert not remote.offer(leases.make(2))
        assert leases.all_released_once()
        assert dropped(remote) == {Drop.FROZEN: 1}
        assert len(load(remote, of, [1])) == 1
        remote.unfreeze()
        store(remote, of, [2])
        assert len(load(remote, of, [1, 2])) == 2


def test_close__queued_chunks__are_written(medium: Medium) -> None:
    of = layout()
    leases = Leases(of)
    with backend(medium.url, of) as remote:
        for number in range(20):
            assert remote.offer(leases.make(number))
    assert leases.all_released_once()
    with backend(medium.url, of) as later:
        assert len(load(later, of, range(20))) == 20
