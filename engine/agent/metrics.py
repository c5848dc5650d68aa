"""`/metrics`, in the text format of Prometheus
(https://prometheus.io/docs/instrumenting/exposition_formats/).

Nothing is counted here: a scrape reads the counters that the engine keeps
anyway, so that a store pays nothing for being measured.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from engine.agent.agent import Agent
from engine.agent.backend_counts import METRICS_COUNTS
from engine.agent.call import Call, Handler
from engine.agent.own_endpoints import METRICS
from engine.agent.workers import Work
from engine.cache import CacheEngine
from engine.contract.version import version
from engine.lookup import Lookup, LookupClients, StatisticsUnavailable
from engine.lookup.tally import Event
from engine.storage import BreakerState, Count, TallySnapshot

_BACKEND = ["backend"]

_OF_ENGINE = {
    "store_requests": "Stores asked for.",
    "offered_tokens": "Tokens that stores were asked to keep: the denominator of stored tokens.",
    "stored_tokens": "Tokens newly stored.",
    "store_seconds": "Seconds that stores took.",
    "retrieve_requests": "Retrieves asked for.",
    "requested_tokens": "Tokens that retrieves asked for: the denominator of retrieved tokens.",
    "retrieved_tokens": "Tokens whose KV was restored.",
    "retrieve_seconds": "Seconds that retrieves took.",
}
_OF_LOOKUPS: dict[Event, str] = {
    Event.LOOKUPS: "Lookups that were answered.",
    Event.TOKENS: "Tokens of those lookups: the denominator of hit tokens.",
    Event.HIT_TOKENS: "Leading tokens that all asked workers had cached.",
    Event.SECONDS: "Seconds that lookups took.",
    Event.TIMEOUTS: "Lookups that a worker did not answer in time.",
    Event.UNREACHABLE: "Lookups given up because a worker was gone.",
    Event.REFUSALS: "Lookups refused by a worker of another model or chunk size.",
    Event.SERVED: "Lookups that this worker answered.",
    Event.SERVED_CHUNKS: "Chunks that those lookups asked for.",
    Event.SERVED_HIT_CHUNKS: "Leading chunks of those lookups that this worker had.",
    Event.SERVED_FAULTS: "Messages to this worker that made no sense, or could not be answered.",
}
_STOPPED = "stores_stopped_"


class AgentCollector(Collector):
    """One agent's metrics, read when they are asked for."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        agent = self._agent
        yield InfoMetricFamily(
            "kvplane_agent",
            "Which agent this is.",
            value={
                "instance": agent.metadata.instance_id,
                "role": agent.metadata.role.value,
                "worker_id": ""
                if agent.metadata.worker_id is None
                else str(agent.metadata.worker_id),
                "model": agent.metadata.model_name,
                "version": version(),
                "boot_id": agent.boot_id,
            },
        )
        yield _gauge("start_time_seconds", "Start of the agent, Unix time.", agent.started_at)
        yield _gauge(
            "config_generation", "Configuration changes since the start.", agent.config.generation
        )
        yield from _of_lookup(agent.lookup)
        if agent.cache is not None:
            yield from _of_holds(agent.cache)
            yield from _of_engine(agent.cache)
            yield from _of_modes(agent.cache)
            yield from _of_backends(agent.cache.storage.tallies())
            yield from _of_memory(agent.cache)
            yield from _of_tiers(agent.cache)


def _of_lookup(lookup: Lookup) -> Iterator[Metric]:
    for name, value in lookup.counters().items():
        yield CounterMetricFamily(f"kvplane_{name}", _OF_LOOKUPS[Event(name)], value=value)
    if not isinstance(lookup, LookupClients):
        return
    try:
        status = lookup.statistics.status()
    except StatisticsUnavailable:
        return
    chunks = GaugeMetricFamily(
        "kvplane_chunk_statistics_chunks",
        "Chunks of looked-up prompts since the last reset.",
        labels=["kind"],
    )
    chunks.add_metric(["unique"], status["unique_chunks"])
    chunks.add_metric(["duplicate"], status["duplicate_chunks"])
    yield chunks
    yield _gauge(
        "chunk_statistics_collecting", "1 while chunks are counted.", int(status["is_collecting"])
    )
    yield _gauge(
        "chunk_statistics_dropped_requests",
        "Lookups that were not counted since the last reset.",
        status["dropped_requests"],
    )


def _of_holds(cache: CacheEngine) -> Iterator[Metric]:
    held = cache.storage.holds.usage()
    yield _gauge("held_requests", "Requests that chunks in memory are held for.", held.requests)
    yield _gauge("held_chunks", "Chunks in memory that are held for requests.", held.chunks)
    yield CounterMetricFamily(
        "kvplane_holds_expired", "Requests that did not come for their chunks.", value=held.expired
    )
    yield CounterMetricFamily(
        "kvplane_holds_refused",
        "Requests whose chunks were not held because too many were.",
        value=held.refused,
    )


def _of_engine(cache: CacheEngine) -> Iterator[Metric]:
    counters = cache.counters()
    for name, help_text in _OF_ENGINE.items():
        yield CounterMetricFamily(f"kvplane_{name}", help_text, value=counters[name])
    stopped = CounterMetricFamily(
        "kvplane_stores_stopped", "Stores that ended before their last chunk.", labels=["reason"]
    )
    for name, value in counters.items():
        if name.startswith(_STOPPED):
            stopped.add_metric([name.removeprefix(_STOPPED)], value)
    yield stopped


def _of_modes(cache: CacheEngine) -> Iterator[Metric]:
    yield _gauge("frozen", "1 while frozen.", int(cache.frozen))
    yield _gauge("hot_cache_enabled", "1 while the hot cache is on.", int(cache.hot_cache_enabled))
    yield _by_backend(
        "bypassed",
        "1 while the backend is bypassed.",
        {name: int(name in cache.bypassed) for name in cache.backends},
    )


def _of_backends(tallies: dict[str, TallySnapshot]) -> Iterator[Metric]:
    for counted in METRICS_COUNTS:
        family = CounterMetricFamily(
            f"kvplane_backend_{counted.name}", counted.help, labels=_BACKEND
        )
        for backend, tally in tallies.items():
            family.add_metric([backend], tally.counts[counted.count])
        yield family
    missed = CounterMetricFamily(
        "kvplane_backend_missed_chunks",
        "Chunks that a retrieve asked the backend for and did not get.",
        labels=_BACKEND,
    )
    dropped = CounterMetricFamily(
        "kvplane_backend_dropped_chunks",
        "Chunks that were not written to the backend.",
        labels=["backend", "reason"],
    )
    faults = CounterMetricFamily(
        "kvplane_backend_faults", "What went wrong in the backend.", labels=["backend", "fault"]
    )
    ages = HistogramMetricFamily(
        "kvplane_backend_eviction_age_seconds",
        "Seconds that evicted chunks had been in the backend.",
        labels=_BACKEND,
    )
    for backend, tally in tallies.items():
        missed.add_metric(
            [backend], tally.counts[Count.LOOKED_UP_CHUNKS] - tally.counts[Count.FOUND_CHUNKS]
        )
        for reason, chunks in tally.drops.items():
            dropped.add_metric([backend, reason.value], chunks)
        for fault, times in tally.faults.items():
            faults.add_metric([backend, fault.value], times)
        age = tally.eviction_age_s
        ages.add_metric([backend], list(_cumulative(age.bounds, age.counts)), age.total)
    yield from (missed, dropped, faults, ages)


def _cumulative(bounds: Iterable[float], counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    """Buckets as Prometheus has them: each counts what is at most its bound."""
    sum_so_far = 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        sum_so_far += count
        yield bound, sum_so_far


def _of_memory(cache: CacheEngine) -> Iterator[Metric]:
    usage = cache.usage()
    yield _by_backend(
        "capacity_bytes",
        "Bytes that the backend may take; 0: no limit of its own.",
        {name: used.capacity_bytes for name, used in usage.items()},
    )
    yield _by_backend(
        "used_bytes",
        "Bytes of the backend in use.",
        {name: used.used_bytes for name, used in usage.items()},
    )
    yield _by_backend(
        "chunks", "Chunks in the backend.", {name: used.chunks for name, used in usage.items()}
    )
    staging = cache.storage.staging
    yield _gauge(
        "staging_capacity_bytes", "Memory apart from the hot cache.", staging.capacity_bytes
    )
    yield _gauge("staging_used_bytes", "Of that, memory in use.", staging.used_bytes)


def _of_tiers(cache: CacheEngine) -> Iterator[Metric]:
    states = cache.storage.tier_states()
    yield _by_backend(
        "queued_chunks",
        "Chunks that wait to be written.",
        {name: state.queued for name, state in states.items()},
    )
    yield _by_backend(
        "breaker_open",
        "1 while the backend failed and is left alone.",
        {name: int(state.breaker is BreakerState.OPEN) for name, state in states.items()},
    )


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"kvplane_{name}", help_text, value=value)


def _by_backend(name: str, help_text: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"kvplane_backend_{name}", help_text, labels=_BACKEND)
    for backend, value in values.items():
        family.add_metric([backend], value)
    return family


async def show_metrics(call: Call) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AgentCollector(call.agent))
    text = await call.agent.workers.run(Work.REPORT, generate_latest, registry)
    return text.decode("utf-8")


HANDLERS: dict[str, Handler] = {METRICS.operation_id: show_metrics}
