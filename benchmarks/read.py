"""A forwarded, authenticated read against a bare proxy of the same agent."""

from collections.abc import Iterator
from statistics import median

from benchmarks.load import Load, generate
from benchmarks.report import Result
from benchmarks.stack import AGENT, full_stack

ROUNDS = 5
REQUESTS = 800


def measure() -> Iterator[Result]:
    """Both in turn, so that a machine that slows down slows both."""
    with full_stack() as stack:
        ours = f"{stack.controlplane_url}/agents/{AGENT}/freeze/status"
        bare = f"{stack.proxy_url}/freeze/status"
        for connections in (1, 16):
            generate(ours, stack.headers, 200, connections)
            generate(bare, {}, 200, connections)
            pairs: list[tuple[Load, Load]] = [
                (
                    generate(ours, stack.headers, REQUESTS, connections),
                    generate(bare, {}, REQUESTS, connections),
                )
                for _ in range(ROUNDS)
            ]
            print(
                f"  {connections:>2} connections: control plane "
                f"{median(a.rate for a, _ in pairs):5.0f}/s, proxy "
                f"{median(b.rate for _, b in pairs):5.0f}/s"
            )
            yield Result(
                f"read through the control plane / bare proxy, {connections} connections (rate)",
                median(a.rate / b.rate for a, b in pairs),
                0.4,
                higher_is_better=True,
            )
            if connections == 1:
                yield Result(
                    "read through the control plane, p50 in ms",
                    median(a.p50 for a, _ in pairs) * 1000,
                    5,
                    higher_is_better=False,
                )
