"""A small HTTP load generator: keep-alive connections on plain sockets."""

import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What a round of requests took."""

    rate: float
    """Requests a second over all connections."""
    latencies: Sequence[float]
    """Seconds, one a request, ascending."""

    @property
    def p50(self) -> float:
        return self.latencies[len(self.latencies) // 2]

    @property
    def p99(self) -> float:
        return quantiles(self.latencies, n=100)[98]


def generate(
    url: str, headers: Mapping[str, str], requests: int, connections: int, method: str = "GET"
) -> Load:
    """Send `requests` requests over `connections` connections at once. Raises
    RuntimeError for an answer other than 200."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    latencies: list[float] = []
    failures: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for _ in range(requests // connections):
            started = time.perf_counter()
            connection.request(method, target, headers=dict(headers))
            response = connection.getresponse()
            body = response.read()
            latencies.append(time.perf_counter() - started)
            if response.status != 200:
                failures.append(f"{response.status} {body[:200]!r}")
                return

    threads = [threading.Thread(target=work) for _ in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if failures:
        raise RuntimeError(failures[0])
    return Load(len(latencies) / elapsed, sorted(latencies))
