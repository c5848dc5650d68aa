"""The URL that an agent tells its control plane."""

import pytest

from engine.agent.listening import bind, url_of


@pytest.mark.parametrize(
    ("host", "controlplane", "own"),
    [
        ("127.0.0.1", "http://127.0.0.1:9", "127.0.0.1"),
        ("0.0.0.0", "http://127.0.0.1:9", "127.0.0.1"),
        ("0.0.0.0", None, "127.0.0.1"),
        ("::1", "http://127.0.0.1:9", "[::1]"),
        ("::", "http://[::1]:9", "[::1]"),
        ("::", "http://127.0.0.1:9", "127.0.0.1"),
    ],
)
def test_url__of_a_bound_socket__leads_there_from_the_control_plane(
    host: str, controlplane: str | None, own: str
) -> None:
    with bind(host, 0) as bound:
        assert url_of(bound, controlplane) == f"http://{own}:{bound.getsockname()[1]}"
