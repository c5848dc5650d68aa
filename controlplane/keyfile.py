"""Keys of an installation that was not given any."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def read_or_create(path: Path) -> str:
    """The key in that file, written with mode 0600 first if there is none.
    Raises OSError."""
    return read_or_write(path, lambda: secrets.token_urlsafe(64))


def read_or_write(path: Path, make: Callable[[], str]) -> str:
    """The text in that file; if there is none, what `make` returns is written first,
    with mode 0600.

    Several processes may start at once: the text is linked into place whole, so
    all of them read the same one. It is on disk before it is used: what is made with
    a key is worth nothing without it. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        _sync_directory(path.parent)
    return path.read_text().strip()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
