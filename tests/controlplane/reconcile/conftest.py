"""A control loop that goes round when a test says so."""

from collections.abc import Iterator

import pytest

from controlplane.reconcile.loop import ControlLoop


@pytest.fixture
def loop(transactional_db, settings) -> Iterator[ControlLoop]:
    settings.KVPLANE_POLL_SECONDS = 0.001
    settings.KVPLANE_POLL_CONCURRENCY = 4
    controller = ControlLoop("test:1:a")
    yield controller
    controller.close()
