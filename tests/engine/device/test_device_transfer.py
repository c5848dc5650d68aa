"""The benchmark of transfers checks what it measures; here on the host's own memory."""

from collections.abc import Sequence

import pytest
import torch

from benchmarks.device_transfer import Case, compare, measure
from engine.contract import SlotRun
from engine.device import KVCacheSpec, PagedKVCache

SMALL = Case("small", KVCacheSpec(2, 2, 8, torch.float16, 4, 8, False), 12)


def test_compare__bytes_arrive__measures_both_ways() -> None:
    found = list(compare(SMALL, torch.device("cpu")))
    assert [result.name.split(",")[0] for result in found] == ["gather", "scatter"]
    assert all(result.value > 0 for result in found)


def test_compare__a_chunk_goes_elsewhere__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scatter = PagedKVCache.scatter

    def shifted(cache: PagedKVCache, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        scatter(cache, chunk.flip(-2), runs)

    monkeypatch.setattr(PagedKVCache, "scatter", shifted)
    with pytest.raises(RuntimeError, match="not what was gathered"):
        list(compare(SMALL, torch.device("cpu")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_measure__no_cuda_device__says_that_it_is_skipped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(measure()) == []
    assert "skipped: torch finds no CUDA device" in capsys.readouterr().out
