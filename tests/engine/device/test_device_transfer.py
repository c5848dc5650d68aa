"""The benchmark of transfers checks what it measures; here on the host's own memory."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from benchmarks.device_transfer import Case, compare, measure
from engine.contract import SlotRun
from engine.device import KVCacheSpec
from engine.device.host_transfer import HostTransfer
from engine.device.staged_transfer import StagedTransfer
from tests.support.processes import ROOT

SMALL = Case("small", KVCacheSpec(2, 2, 8, torch.float16, 4, 8, False), 12)


def test_compare__bytes_arrive__measures_both_ways() -> None:
    found = list(compare(SMALL, torch.device("cpu")))
    assert [result.name.split(",")[0] for result in found] == ["gather", "scatter"]
    assert all(result.value > 0 for result in found)


@pytest.mark.parametrize("kind", [StagedTransfer, HostTransfer])
def test_compare__a_chunk_goes_elsewhere__is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: type[StagedTransfer | HostTransfer]
) -> None:
    scatter = kind.scatter

    def shifted(transfer: Any, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        scatter(transfer, chunk.flip(-2), runs)

    monkeypatch.setattr(kind, "scatter", shifted)
    with pytest.raises(RuntimeError, match="not what was gathered"):
        list(compare(SMALL, torch.device("cpu")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_measure__no_cuda_device__says_that_it_is_skipped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(measure()) == []
    assert "skipped: torch finds no CUDA device" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_script__no_cuda_device__says_so_and_ends_well() -> None:
    command = [sys.executable, "-m", "benchmarks.device_transfer"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "skipped: torch finds no CUDA device" in ended.stdout) == (0, True)
