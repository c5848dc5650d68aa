"""The suite leaves no operation of the control plane's document out."""

from pathlib import Path

import pytest

from tests.functional.conftest import called
from tests.support.document import controlplane_document, operations_of

pytestmark = pytest.mark.slow


def test_functional_suite__whole__has_called_every_operation(
    request: pytest.FixtureRequest,
) -> None:
    modules = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    missing = modules - {item.path.name for item in request.session.items}
    if missing:
        pytest.skip(f"needs the whole suite; {', '.join(sorted(missing))} was left out")
    every = {operation.id for operation in operations_of(controlplane_document())}
    assert every - called == set()
