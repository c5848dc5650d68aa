"""The suite leaves no operation of the control plane's document out."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import called
from tests.support.document import agent_document, controlplane_document, operations_of

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


@pytest.mark.parametrize(
    ("package", "document"),
    [("kvplane_client", controlplane_document()), ("kvplane_agent_client", agent_document())],
    ids=["controlplane", "agent"],
)
def test_generated_client__every_operation__has_its_four_functions(
    package: str, document: dict[str, Any]
) -> None:
    for operation in operations_of(document):
        (tag,) = operation.described["tags"]
        module = import_module(f"{package}.api.{tag}.{operation.id}")
        for function in ("sync", "sync_detailed", "asyncio", "asyncio_detailed"):
            assert callable(getattr(module, function))
