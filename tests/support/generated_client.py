"""The Python clients that `make clients` makes, for tests to import."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.processes import ROOT

_SOURCES = (
    *("docs/openapi/controlplane.yaml", "docs/openapi/agent.json"),
    *("requirements/clients.sh", "requirements/python-client.yaml", "requirements/test.txt"),
)
_PROJECTS = ("kvplane-client", "kvplane-agent-client")


def generated_clients(cache: Path = ROOT / "clients" / "cache") -> Path:
    """Where the clients lie that go with the documents as they are: generated once for
    each state of them, whole or not at all, however many sessions ask at once."""
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in _SOURCES))
    directory = cache / digest.hexdigest()[:16]
    if not directory.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            generate(Path(scratch) / "clients")
            try:
                (Path(scratch) / "clients").rename(directory)
            except OSError:
                # Another session was faster.
                if not directory.exists():
                    raise
    return directory


def generate(target: Path, language: str = "python") -> None:
    """Generate clients into `target`. Raises RuntimeError with what the generator
    says if any operation does not come out."""
    finished = subprocess.run(
        [ROOT / "requirements" / "clients.sh", sys.prefix, target, language],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=120,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"the clients cannot be generated:\n{finished.stderr}")


def make_importable() -> None:
    """Let tests import `kvplane_client` and `kvplane_agent_client`."""
    for project in _PROJECTS:
        path = str(generated_clients() / "python" / project)
        if path not in sys.path:
            sys.path.insert(0, path)
