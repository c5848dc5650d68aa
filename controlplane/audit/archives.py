"""Checking an archive: its manifest, its bytes, and the chain in it."""

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rfc8785

from controlplane.audit.archiving import digest_of, manifest_path, signed_part
from controlplane.audit.heads import read_heads
from controlplane.audit.keys import KeyRing, KeyUnavailable
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Kind, Report
from controlplane.audit.stored import Row
from controlplane.audit.verification import (
    ARCHIVE,
    Found,
    check_row,
    check_signature,
)

_MAX_LINE = 16 << 20
_UNREADABLE = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
)


def verify_archive(path: Path, keys: KeyRing, heads: Path) -> Report:
    """Look at all of the archive, in constant memory; what is wrong first stands in the
    report. Raises OSError and django.db.DatabaseError."""
    check = _ArchiveCheck(path, keys, heads)
    problem = None
    try:
        check.run()
    except Found as found:
        problem = found.problem
    return Report(
        entries=check.entries,
        first=check.first,
        last=check.last,
        archived_up_to=0,
        kept=0,
        heads=check.heads,
        signed_up_to=check.signed_up_to,
        problem=problem,
    )


class _ArchiveCheck:
    def __init__(self, path: Path, keys: KeyRing, heads: Path) -> None:
        self._path = path
        self._keys = keys
        self._heads = heads
        self.entries = self.first = self.last = self.heads = self.signed_up_to = 0

    def run(self) -> None:
        """Raises Found."""
        manifest = self._read_manifest()
        if digest_of(self._path) != manifest["sha256"]:
            raise _bad("the file is not the one that was signed: its SHA-256 differs")
        self._check_what_the_log_says(manifest)
        wanted = self._heads_between(int(manifest["first"]), int(manifest["last"]))
        self._check_chain(manifest, wanted)

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads(manifest_path(self._path).read_bytes())
            signature = base64.b64decode(manifest["signature"], validate=True)
            is_signed = self._keys.is_signed(signed_part(manifest), signature, str(manifest["key"]))
            int(manifest["first"]), int(manifest["last"]), int(manifest["count"])
        except FileNotFoundError as error:
            raise _bad(f"{manifest_path(self._path).name} is not beside it") from error
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
            raise _bad("its manifest cannot be read") from error
        except KeyUnavailable as error:
            raise Found(Kind.NO_KEY, None, f"The archive cannot be checked: {error}.") from error
        if not is_signed:
            raise _bad("the signature in its manifest does not fit")
        return manifest

    def _check_what_the_log_says(self, manifest: dict[str, Any]) -> None:
        """The log names each archive with its digest, as far as it is at hand."""
        target = f"audit_archive:{manifest['archive']}"
        entry = (
            AuditEntry.objects.filter(action=ARCHIVE, target=target, stage="requested")
            .order_by("-id")
            .first()
        )
        if entry is not None and entry.request["sha256"] != manifest["sha256"]:
            raise _bad(f"entry {entry.pk} of the log names another digest")

    def _heads_between(self, first: int, last: int) -> dict[int, bytes]:
        """One head for each thousandth of the archive at most, so that they fit into
        memory; each signed."""
        step = max(1, (last - first) // 1000)
        wanted: dict[int, tuple[int, bytes]] = {}
        for head in read_heads(self._heads):
            if first <= head.id <= last:
                check_signature(self._keys, head)
                self.heads += 1
                self.signed_up_to = max(self.signed_up_to, head.id)
                wanted[head.id // step] = (head.id, head.mac.encode())
        return dict(wanted.values())

    def _check_chain(self, manifest: dict[str, Any], wanted: dict[int, bytes]) -> None:
        expected, last = int(manifest["first"]), str(manifest["previous"]).encode()
        for row in _rows(self._path):
            number, _, previous, mac, _ = row
            if number != expected:
                raise Found(Kind.MISSING, expected, f"Entry {expected} is not in the archive.")
            if previous != last:
                raise Found(Kind.BROKEN, number, f"Entry {number} does not follow in the archive.")
            check_row(self._keys, row)
            if wanted.get(number, mac) != mac:
                raise Found(
                    Kind.REWRITTEN, number, f"A signed head tells of another entry {number}."
                )
            expected, last = expected + 1, mac
            self.first = self.first or number
            self.last = number
            self.entries += 1
        found = (self.entries, self.last, last.decode())
        if found != (manifest["count"], manifest["last"], manifest["last_mac"]):
            raise _bad("it does not end where its manifest says")


def _rows(path: Path) -> Iterator[Row]:
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_MAX_LINE):
                told = json.loads(line)
                document = rfc8785.dumps(told["entry"])
                yield (
                    int(told["id"]),
                    str(told["key"]).encode(),
                    str(told["previous"]).encode(),
                    str(told["mac"]).encode(),
                    document,
                )
    except _UNREADABLE as error:
        raise _bad("it cannot be read to its end") from error


def _bad(why: str) -> Found:
    return Found(Kind.BAD_ARCHIVE, None, f"This is not what was archived: {why}.")
