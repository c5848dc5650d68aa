"""Chunks in a directory that several processes and machines share.

    <path>/<namespace digest>/<2 hex>/<chunk hash hex>.kvchunk

Each file is a chunk as engine.storage.format has it. A file gets its name only when
it is whole, so readers need no lock, and of two writers of one key the last wins
with the same bytes.
"""

import contextlib
import errno
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.storage.connectors.connector import (
    ConnectorContext,
    ConnectorError,
    ConnectorRefusal,
    ConnectorTimeout,
    EncodedChunk,
    InvalidRemoteURL,
    namespace_digest,
)
from engine.storage.connectors.fs_files import (
    CHUNK_SUFFIX,
    TEMPORARY_SUFFIX,
    read_file,
    write_file,
)
from engine.tokens import ChunkKey

_TEMPORARY_SECONDS = 3600.0
_REMOVED_AT_ONCE = 256
_TAKES_NO_WRITES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM}
)
_GONE = frozenset({errno.ENOENT, errno.ESTALE})
"""A file on a network file system that another machine replaced is stale."""


class FsConnector:
    """`fs:///absolute/path`. In LMCache's form, `fs://host:port/path`, host and port
    are ignored. A `%xx` in the path is decoded.

    The directory is created once, by the first call that comes through. If it is
    gone later, a file system was unmounted or somebody removed it; then every call
    raises, rather than filling the disk below the mount point.

    A call on a hung mount cannot be interrupted and does not end by itself.
    """

    max_value_bytes = sys.maxsize

    def __init__(self, url: str, context: ConnectorContext) -> None:
        """Raises InvalidRemoteURL."""
        self._root = directory_of(url)
        self._directory = self._root / namespace_digest(context.layout.namespace)
        self._created = False
        self._creating = threading.Lock()

    def contains(self, keys: Sequence[ChunkKey]) -> int:
        with _faults(_READING):
            self._create_once()
            for index, key in enumerate(keys):
                try:
                    self._path(key).stat()
                except OSError as error:
                    self._check_gone(error)
                    return index
            return len(keys)

    def get(self, keys: Sequence[ChunkKey]) -> list[EncodedChunk]:
        found: list[EncodedChunk] = []
        with _faults(_READING):
            self._create_once()
            for key in keys:
                try:
                    found.append(read_file(self._path(key)))
                except OSError as error:
                    self._check_gone(error)
                    break
        return found

    def put(self, chunks: Mapping[ChunkKey, EncodedChunk]) -> None:
        with _faults(_TAKES_NO_WRITES):
            self._create_once()
            for key, chunk in chunks.items():
                write_file(self._path(key), chunk)

    def delete(self, keys: Sequence[ChunkKey]) -> None:
        with _faults(_TAKES_NO_WRITES):
            for key in keys:
                self._path(key).unlink(missing_ok=True)

    def clear(self) -> Iterator[int]:
        with _faults(_TAKES_NO_WRITES):
            self._create_once()
            self._check_directory()
            directories = [path for path in self._directory.iterdir() if path.is_dir()]
        for directory in directories:
            with _faults(_TAKES_NO_WRITES):
                paths = list(directory.iterdir())
            for start in range(0, len(paths), _REMOVED_AT_ONCE):
                with _faults(_TAKES_NO_WRITES):
                    removed = sum(map(_remove, paths[start : start + _REMOVED_AT_ONCE]))
                yield removed

    def ping(self) -> None:
        with _faults(_READING):
            self._create_once()
            self._check_directory()

    def close(self) -> None:
        """There is nothing to let go of."""

    def _path(self, key: ChunkKey) -> Path:
        name = key.chunk_hash.hex()
        return self._directory / name[:2] / f"{name}{CHUNK_SUFFIX}"

    def _create_once(self) -> None:
        if self._created:
            return
        with self._creating:
            if not self._created:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._created = True

    def _check_gone(self, error: OSError) -> None:
        """Raise what reading a chunk led to, unless it is that the chunk is not there."""
        if error.errno not in _GONE:
            raise error
        self._check_directory()

    def _check_directory(self) -> None:
        """Tell a chunk that is not there from a file system that is not there."""
        try:
            self._directory.stat()
        except FileNotFoundError as error:
            raise ConnectorError(
                f"{self._directory} is gone; is the file system mounted?"
            ) from error


_READING: frozenset[int] = frozenset()


@contextlib.contextmanager
def _faults(refusals: frozenset[int]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ConnectorTimeout(str(error)) from error
    except OSError as error:
        if error.errno in refusals:
            raise ConnectorRefusal(str(error)) from error
        raise ConnectorError(str(error)) from error


def directory_of(url: str) -> Path:
    """The directory that an fs:// URL names. Raises InvalidRemoteURL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidRemoteURL("The remote URL is not a URL: fs:///absolute/path.") from None
    path = unquote(parts.path)
    if not path.strip("/") or "\0" in path:
        raise InvalidRemoteURL("The remote URL names no directory: fs:///absolute/path.")
    if parts.query or parts.fragment:
        raise InvalidRemoteURL("A remote URL for 'fs' takes no parameters; write '?' as %3F.")
    return Path(path)


def _remove(path: Path) -> int:
    """Remove a chunk, or what a writer that died has left; how many chunks that was."""
    with contextlib.suppress(FileNotFoundError):
        if path.suffix == CHUNK_SUFFIX:
            path.unlink()
            return 1
        age = time.time() - path.stat().st_mtime
        if path.suffix == TEMPORARY_SUFFIX and age > _TEMPORARY_SECONDS:
            path.unlink()
    return 0
