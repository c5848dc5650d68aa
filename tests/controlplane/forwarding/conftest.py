"""A client that opens real connections."""

from collections.abc import Iterator

import pytest

from controlplane.forwarding import AgentClient
from controlplane.forwarding.curl import CurlTransport


@pytest.fixture
def real_client() -> Iterator[AgentClient]:
    transport = CurlTransport()
    yield AgentClient(transport, max_answer_bytes=1000, max_calls_per_agent=1)
    transport.close()
