"""Counting unique chunks exactly, on disk."""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.lookup.messages import HASH_BYTES
from engine.lookup.statistics.unique_counter import CountingFailed

HASH_FILE: Final = "file_hash"
_CACHE_BYTES = 16 << 20
_PREFIX_BYTES = 16
_PREPARE = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -{_CACHE_BYTES >> 10};
    CREATE TABLE seen (prefix BLOB PRIMARY KEY) WITHOUT ROWID;
"""
# One statement for a whole call: it runs without Python's global lock. In the order of
# the table, in which fewer pages are read.
_INSERT = """
    INSERT OR IGNORE INTO seen (prefix)
    WITH RECURSIVE places (place) AS (
        SELECT 1 UNION ALL SELECT place + :hash_bytes FROM places
        WHERE place + :hash_bytes <= length(:hashes)
    )
    SELECT substr(:hashes, place, :prefix_bytes) AS prefix FROM places ORDER BY prefix
"""


class HashFileCounter:
    """A table of 16-byte prefixes of the hashes, in an SQLite file; two hashes agree in
    them with a chance of 2^-128. 24 bytes on disk a hash, measured.

    The file is scratch: nothing is flushed or journalled, and it has no name once it
    is open, so that it goes with the process, however that ends.
    """

    strategy: Final = HASH_FILE
    expected_error: Final = 0.0

    def __init__(self, directory: Path | None) -> None:
        """The file is made in `directory`, which is made if need be, or in the system's
        directory for temporary files, when the first hash is counted."""
        self._directory = directory
        self._connection: sqlite3.Connection | None = None
        self._disk_bytes = 0

    @property
    def memory_bytes(self) -> int:
        return min(self._disk_bytes, _CACHE_BYTES)

    @property
    def disk_bytes(self) -> int:
        return self._disk_bytes

    def count(self, hashes: Sequence[bytes]) -> int:
        if not hashes:
            return 0
        try:
            connection = self._connection or self._open()
            before = connection.total_changes
            connection.execute(_INSERT, _parameters(hashes))
            self._disk_bytes = _size(connection)
        except (OSError, sqlite3.Error) as error:
            # Without a journal the table may be broken now.
            self._discard()
            raise CountingFailed(str(error)) from error
        return connection.total_changes - before

    def reset(self) -> None:
        self._discard()

    def close(self) -> None:
        self._discard()

    def _open(self) -> sqlite3.Connection:
        """Raises OSError, sqlite3.Error."""
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(prefix="kvplane-chunk-statistics-", dir=self._directory)
        os.close(descriptor)
        try:
            # The thread that closes need not be the one that counts.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.executescript(_PREPARE)
        finally:
            Path(path).unlink()
        return self._connection

    def _discard(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        self._disk_bytes = 0


def _parameters(hashes: Sequence[bytes]) -> dict[str, bytes | int]:
    return {
        "hashes": b"".join(hashes),
        "hash_bytes": HASH_BYTES,
        "prefix_bytes": _PREFIX_BYTES,
    }


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_bytes)
