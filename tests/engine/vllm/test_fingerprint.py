"""Weights are told apart by what lies in their directory."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.vllm.fingerprint import fingerprint, local_directory

SIZE = 1 << 20


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    directory = tmp_path / "weights"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(bytes(SIZE))
    (directory / "config.json").write_text("{}")
    return directory


def retrain(directory: Path) -> None:
    """Other numbers everywhere, in files of the same size and time."""
    path = directory / "model.safetensors"
    before = path.stat()
    path.write_bytes(b"\1" * SIZE)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_up(directory: Path) -> None:
    """One other number."""
    path = directory / "model.safetensors"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[SIZE // 3] = 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def configure(directory: Path) -> None:
    (directory / "config.json").write_text('{"rope_theta": 1}')


def add_file(directory: Path) -> None:
    (directory / "model-2.safetensors").write_bytes(b"")


@pytest.mark.parametrize("change", [retrain, touch_up, configure, add_file])
def test_fingerprint__changed_weights__differs(
    weights: Path, change: Callable[[Path], None]
) -> None:
    before = fingerprint(weights)
    change(weights)
    assert fingerprint(weights) != before


def test_fingerprint__copied_with_times_or_read_again__is_the_same(
    weights: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy")
    (copy / "README.md").write_text("Not read by vLLM.")
    assert fingerprint(weights) == fingerprint(weights) == fingerprint(copy)


def test_local_directory__in_the_cache_of_the_hub__is_known_by_its_contents(
    tmp_path: Path,
) -> None:
    prints = []
    for cache in (tmp_path / "one", tmp_path / "two"):
        repository = cache / "models--some--model"
        for directory in ("blobs", "refs", "snapshots/c0ffee"):
            (repository / directory).mkdir(parents=True)
        (repository / "refs/main").write_text("c0ffee")
        (repository / "blobs/5ca1ab1e").write_text("{}")
        (repository / "snapshots/c0ffee/config.json").symlink_to("../../blobs/5ca1ab1e")
        found = local_directory("some/model", "config.json", cache=str(cache))
        assert found == repository / "snapshots/c0ffee"
        os.utime(repository / "blobs/5ca1ab1e", (len(prints), len(prints)))
        prints.append(fingerprint(found))
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", ["no/such-model", "/no/such/directory", "s3://bucket/model"])
def test_local_directory__not_on_this_machine__is_none(tmp_path: Path, name: str) -> None:
    assert local_directory(name, "config.json", cache=str(tmp_path)) is None
