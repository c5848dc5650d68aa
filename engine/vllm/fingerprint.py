"""Which weights a directory holds: enough to tell others under the same name, without
reading them all."""

import hashlib
import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf", ".tensors", ".json", ".py"})
_SAMPLES, _SAMPLE_BYTES = 16, 4096


def local_directory(
    name: str, marker: str, revision: str | None = None, cache: str | None = None
) -> Path | None:
    """Where that model or adapter lies on this machine: `name` is a path, or a repository
    of the Hugging Face hub that was fetched and has a file `marker`. None if it is
    neither."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    try:
        found = try_to_load_from_cache(name, marker, cache_dir=cache, revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def fingerprint(path: Path) -> str:
    """SHA-256, as hexadecimal digits, of what tells one set of files from another: of
    every file with weights or configuration its name, size, time of last change and
    some samples. A file in the hub's cache is named after its contents; that is
    enough. `path` may be one file. Raises OSError."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in _SUFFIXES and file.is_file():
            digest.update(f"{file.name}\0".encode())
            digest.update(_identity(file.resolve()))
    return digest.hexdigest()


def _identity(file: Path) -> bytes:
    if file.parent.name == "blobs":
        return file.name.encode()
    status = file.stat()
    # Images of containers are often built with one time for all files.
    samples = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for number in range(_SAMPLES):
            offset = max(0, status.st_size - _SAMPLE_BYTES) * number // (_SAMPLES - 1)
            samples.update(os.pread(descriptor, _SAMPLE_BYTES, offset))
    finally:
        os.close(descriptor)
    return samples.digest()
