import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from engine.storage.connectors import (
    ConnectorContext,
    ConnectorError,
    ConnectorRefusal,
    EncodedChunk,
    InvalidRemoteURL,
    available_schemes,
    namespace_digest,
    open_connector,
    without_secrets,
)
from engine.storage.connectors.fs_files import chunk_files, read_payload
from engine.storage.format import ChunkHeader, ChunkLayout, CorruptChunk, make_header, read_header
from engine.storage.payload import payload_of
from engine.storage.serde import decode_payload
from tests.support.remote import TOKENS, chunk, connector, key, layout, same_bytes


def encoded(of: ChunkLayout, number: int) -> EncodedChunk:
    payload = payload_of(chunk(of, number))
    return EncodedChunk(make_header(of, key(of, number), TOKENS, payload, "naive"), payload)


def path_of(root: Path, of: ChunkLayout, number: int) -> Path:
    name = key(of, number).chunk_hash.hex()
    return root / namespace_digest(of.namespace) / name[:2] / f"{name}.kvchunk"


def test_put__chunk__lies_where_the_layout_says_and_nothing_else(tmp_path: Path) -> None:
    of = layout()
    connector(f"fs://{tmp_path}", of).put({key(of, 1): encoded(of, 1)})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [path_of(tmp_path, of, 1)]
    assert read_header(files[0].read_bytes()).key == key(of, 1)


def test_get__leading_keys__are_returned_up_to_the_first_gap(tmp_path: Path) -> None:
    of = layout()
    shared = connector(f"fs://{tmp_path}", of)
    shared.put({key(of, number): encoded(of, number) for number in (1, 2, 4)})
    keys = [key(of, number) for number in (1, 2, 3, 4)]
    assert shared.contains(keys) == 2
    found = shared.get(keys)
    assert [bytes(each.payload) for each in found] == [
        bytes(encoded(of, number).payload) for number in (1, 2)
    ]
    shared.delete([key(of, 1), key(of, 9)])
    assert shared.contains(keys) == 0


@pytest.mark.parametrize("call", ["stat", "preadv"])
def test_calls__file_replaced_by_another_machine__end_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """NFS answers so for a file that another machine removed or wrote anew."""
    of = layout()
    shared = connector(f"fs://{tmp_path}", of)
    shared.put({key(of, number): encoded(of, number) for number in (1, 2)})
    keys = [key(of, number) for number in (1, 2)]
    where = Path if call == "stat" else os
    original = getattr(where, call)
    stale = path_of(tmp_path, of, 2)

    def refuse(subject: Path | int, *arguments: object) -> object:
        path = subject if isinstance(subject, Path) else Path(f"/proc/self/fd/{subject}").readlink()
        if path == stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return original(subject, *arguments)

    with monkeypatch.context() as replaced:
        replaced.setattr(where, call, refuse)
        found = shared.contains(keys), len(shared.get(keys))
    assert found == ((1, 2) if call == "stat" else (2, 1))


def test_calls__mount_itself_is_stale__are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = layout()
    shared = connector(f"fs://{tmp_path}", of)
    shared.put({key(of, 1): encoded(of, 1)})

    def refuse(*arguments: object, **named: object) -> object:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as stale:
        stale.setattr(Path, "stat", refuse)
        stale.setattr(os, "open", refuse)
        calls = [lambda: shared.contains([key(of, 1)]), lambda: shared.get([key(of, 1)])]
        for call in (*calls, shared.ping):
            with pytest.raises(ConnectorError, match=os.strerror(errno.ESTALE)):
                call()


def test_url__lmcaches_form__ignores_host_and_port(tmp_path: Path) -> None:
    of = layout()
    connector(f"fs://somewhere:1234{tmp_path}", of).put({key(of, 1): encoded(of, 1)})
    assert path_of(tmp_path, of, 1).is_file()


def test_url__escaped_path__is_decoded(tmp_path: Path) -> None:
    of = layout()
    connector(f"fs://{tmp_path}/with%20blank", of).put({key(of, 1): encoded(of, 1)})
    assert path_of(tmp_path / "with blank", of, 1).is_file()


@pytest.mark.parametrize("url", ["fs://", "fs:///", "fs://host", "fs:///a?b=c", "fs:///a#b"])
def test_url__no_directory__is_refused(url: str) -> None:
    with pytest.raises(InvalidRemoteURL):
        connector(url, layout())


def test_put__directory_vanished__is_a_fault_and_is_not_made_anew(tmp_path: Path) -> None:
    of = layout()
    root = tmp_path / "mount"
    shared = connector(f"fs://{root}", of)
    shared.put({key(of, 1): encoded(of, 1)})
    shutil.rmtree(root)
    for call in (
        lambda: shared.put({key(of, 2): encoded(of, 2)}),
        lambda: shared.contains([key(of, 1)]),
        lambda: shared.get([key(of, 1)]),
        lambda: list(shared.clear()),
        shared.ping,
    ):
        with pytest.raises(ConnectorError, match="mount"):
            call()
    assert not root.exists()


def test_ping__directory_comes_back__is_well_again(tmp_path: Path) -> None:
    of = layout()
    root = tmp_path / "mount"
    shared = connector(f"fs://{root}", of)
    shared.put({key(of, 1): encoded(of, 1)})
    root.rename(tmp_path / "unmounted")
    root.mkdir()
    with pytest.raises(ConnectorError):
        shared.ping()
    root.rmdir()
    (tmp_path / "unmounted").rename(root)
    shared.ping()
    assert shared.contains([key(of, 1)]) == 1


def test_ping__root_cannot_be_made__is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectorError):
        connector(f"fs://{tmp_path}/file/below", layout()).ping()


def test_put__no_space__is_a_refusal_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = layout()
    shared = connector(f"fs://{tmp_path}", of)

    def full(file: int, parts: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(ConnectorRefusal, match="No space"):
        shared.put({key(of, 1): encoded(of, 1)})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_put__short_writes__writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = layout()
    shared = connector(f"fs://{tmp_path}", of)
    write = os.write
    monkeypatch.setattr(os, "writev", lambda file, parts: write(file, parts[0][:1000]))
    shared.put({key(of, 1): encoded(of, 1)})
    header, payload = encoded(of, 1)
    assert path_of(tmp_path, of, 1).read_bytes() == bytes(header) + bytes(payload)


def test_clear__other_namespace_and_other_files__stay(tmp_path: Path) -> None:
    mine, other = layout(), layout()
    shared = connector(f"fs://{tmp_path}", mine)
    shared.put({key(mine, number): encoded(mine, number) for number in range(300)})
    connector(f"fs://{tmp_path}", other).put({key(other, 1): encoded(other, 1)})
    (tmp_path / "README").write_text("not ours")
    stale = path_of(tmp_path, mine, 1).with_name(".dead.tmp")
    stale.write_text("half")
    os.utime(stale, (0, 0))
    fresh = stale.with_name(".alive.tmp")
    fresh.write_text("half")
    steps = list(shared.clear())
    assert sum(steps) == 300
    assert max(steps) <= 256
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"README", ".alive.tmp", path_of(tmp_path, other, 1).name}


def test_get__something_else_at_the_path__does_not_wait_for_it(tmp_path: Path) -> None:
    of = layout()
    shared = connector(f"fs://{tmp_path}", of)
    shared.ping()
    path = path_of(tmp_path, of, 1)
    path.parent.mkdir()
    os.mkfifo(path)
    assert shared.get([key(of, 1)]) == [EncodedChunk(b"", b"")]


def test_chunk_files__all_kinds_of_files__are_told_apart(tmp_path: Path) -> None:
    of = layout()
    connector(f"fs://{tmp_path}", of).put({key(of, n): encoded(of, n) for n in range(1, 5)})
    os.truncate(path_of(tmp_path, of, 2), 5000)
    os.truncate(path_of(tmp_path, of, 3), 0)
    with path_of(tmp_path, of, 4).open("r+b") as file:
        file.seek(70)
        file.write(b"\xff")
    (tmp_path / "dangling.kvchunk").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ignored.txt").write_text("")
    found = {file.path.name: file.header for file in chunk_files(tmp_path)}
    assert len(found) == 5
    good = found.pop(path_of(tmp_path, of, 1).name)
    assert isinstance(good, ChunkHeader)
    assert good.key == key(of, 1)
    assert all(isinstance(header, CorruptChunk) for header in found.values())
    into = torch.empty_like(chunk(of, 1))
    decode_payload(good, read_payload(path_of(tmp_path, of, 1), good), payload_of(into))
    assert same_bytes(into, chunk(of, 1))


def test_chunk_files__no_such_directory__raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        chunk_files(tmp_path / "nowhere")


def test_read_payload__file_shrank_meanwhile__is_corrupt(tmp_path: Path) -> None:
    of = layout()
    connector(f"fs://{tmp_path}", of).put({key(of, 1): encoded(of, 1)})
    path = path_of(tmp_path, of, 1)
    header = read_header(path.read_bytes())
    os.truncate(path, 5000)
    into = torch.empty_like(chunk(of, 1))
    with pytest.raises(CorruptChunk):
        decode_payload(header, read_payload(path, header), payload_of(into))
    path.unlink()
    with pytest.raises(CorruptChunk):
        read_payload(path, header)


@pytest.mark.parametrize("url", ["s3://bucket/path", "no url", "", "://x", "p@ss://:secret@host"])
def test_open_connector__unknown_scheme__names_the_available_ones(url: str) -> None:
    with pytest.raises(InvalidRemoteURL) as caught:
        connector(url, layout())
    for scheme in ("fs", "redis", "rediss", "redis+cluster", "rediss+cluster"):
        assert scheme in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6380/1?password=secret", "redis://host:6380/1"),
        ("redis://:sec@ret:x@host/0", "redis://host/0"),
        ("redis://:secret@[::1]:7/0", "redis://[::1]:7/0"),
        ("redis://host:secret/0", "redis://"),
        ("fs:///srv/kv", "fs:///srv/kv"),
    ],
)
def test_without_secrets__url__shows_no_password(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def install_distribution(into: Path, scheme: str, target: str) -> None:
    metadata = into / "thirdparty-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[kvplane.connectors]\n{scheme} = {target}\n")
    (into / "thirdparty_connector.py").write_text(
        "from engine.storage.connectors.fs import FsConnector\n"
        "class Mirrored(FsConnector):\n"
        "    pass\n"
    )


def test_open_connector__installed_entry_point__is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_distribution(tmp_path, "mirror+x", "thirdparty_connector:Mirrored")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "thirdparty_connector", raising=False)
    assert "mirror+x" in available_schemes()
    of = layout()
    shared = open_connector(f"mirror+x://{tmp_path}/data", ConnectorContext(of, lambda: 1.0))
    shared.put({key(of, 1): encoded(of, 1)})
    assert type(shared).__name__ == "Mirrored"
    assert shared.contains([key(of, 1)]) == 1


def test_open_connector__entry_point_that_cannot_be_loaded__says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_distribution(tmp_path, "mirror", "thirdparty_connector:Missing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "thirdparty_connector", raising=False)
    with pytest.raises(InvalidRemoteURL, match="'mirror' cannot be loaded"):
        connector("mirror:///x", layout())


def test_open_connector__entry_point_named_like_a_built_in__does_not_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_distribution(tmp_path, "fs", "thirdparty_connector:Mirrored")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(connector(f"fs://{tmp_path}", layout())).__name__ == "FsConnector"
