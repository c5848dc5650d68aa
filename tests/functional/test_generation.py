"""`make clients`: clients that are whole, or a message."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.document import controlplane_document
from tests.support.generated_client import generated_clients
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads, in a place of its own."""
    for name in ("requirements/clients.sh", "requirements/python-client.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "docs" / "openapi", tmp_path / "docs" / "openapi")
    return tmp_path


def run(checkout: Path, language: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "requirements" / "clients.sh", sys.prefix, checkout / "clients", language],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_clients__operation_that_cannot_be_expressed__fails_and_keeps_the_client_before(
    checkout: Path,
) -> None:
    before = checkout / "clients" / "python" / "kvplane-client"
    shutil.copytree(generated_clients() / "python" / "kvplane-client", before)
    document = yaml.safe_load(yaml.safe_dump(controlplane_document()))
    parameters = document["paths"]["/freeze/enable"]["put"]["parameters"]
    header = next(each for each in parameters if each["name"] == "X-KVPlane-Expires-At")
    header["schema"]["format"] = "date-time"
    (checkout / "docs" / "openapi" / "controlplane.yaml").write_text(yaml.safe_dump(document))

    finished = run(checkout, "python")

    assert finished.returncode != 0
    assert "PUT /freeze/enable" in finished.stderr
    assert (before / "kvplane_client" / "api" / "freeze" / "enable_freeze.py").exists()
    assert [path.name for path in (checkout / "clients").iterdir()] == ["python"]


def test_clients__unknown_language__says_which_there_are(checkout: Path) -> None:
    finished = run(checkout, "perl")

    assert finished.returncode != 0
    assert "python, typescript" in finished.stderr
