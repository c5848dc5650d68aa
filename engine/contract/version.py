"""Which build of KVPlane this is."""

import subprocess
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "unknown"


@cache
def version() -> str:
    """The released version: from the installed distribution, or from the
    checkout that this file lies in; `unknown` if neither tells."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        name_and_version = tomllib.loads(project.read_text("utf-8")).get("project", {})
        if name_and_version.get("name") == "kvplane":
            return str(name_and_version["version"])
    try:
        return metadata.version("kvplane")
    except metadata.PackageNotFoundError:
        return UNKNOWN


@cache
def commit_id() -> str:
    """The git commit of the checkout that this file lies in, or `unknown`."""
    if not (ROOT / ".git").exists():
        return UNKNOWN
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return answer.stdout.strip() or UNKNOWN
