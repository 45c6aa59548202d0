"""Figures for Prometheus. No label carries a tenant, agent, user, host or URL. Source: operations.md section 8.2.

Requests are counted in plain lists and turned into Prometheus' form when somebody scrapes: a counter of the client
library takes a lock and a search through its buckets for every request.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_GAUGES: Final = (
    ("broker_in_flight", "Brokered calls running"),
    ("streams_open", "Brokered streams running"),
    ("audit_queue_depth", "Audit rows waiting to be written"),
    ("grants_age_seconds", "Time since the change counter was last known to be right"),
    ("db_pool_in_use", "Pooled connections in use"),
)


class _Requests(Collector):
    """Requests by route, method and status, and how long they took."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, int], int] = {}
        self.times: dict[str, list[float]] = {}

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """What was counted, in Prometheus' form."""
        counter = CounterMetricFamily(
            "agenthifive_http_requests", "Answered requests", labels=["route", "method", "status"]
        )
        for (route, method, status), count in self.counts.items():
            counter.add_metric([route, method, str(status)], count)
        yield counter
        histogram = HistogramMetricFamily(
            "agenthifive_http_request_duration_seconds", "Time to answer", labels=["route"]
        )
        for route, cells in self.times.items():
            total, buckets = 0.0, []
            for bound, cell in zip((*map(str, _BUCKETS), "+Inf"), cells, strict=False):
                total += cell
                buckets.append((bound, total))
            histogram.add_metric([route], buckets, cells[-1])
        yield histogram


class Metrics:
    """The process's registry and the few figures rooms report to it."""

    def __init__(self, version: str, git_sha: str) -> None:
        self.registry = CollectorRegistry()
        build = Gauge("agenthifive_build_info", "Version", ["version", "git_sha"], registry=self.registry)
        build.labels(version, git_sha).set(1)
        self._requests = _Requests()
        self.registry.register(self._requests)
        self.frozen = Gauge("agenthifive_frozen", "What is stopped", ["scope"], registry=self.registry)
        self.gauges = {name: Gauge(f"agenthifive_{name}", says, registry=self.registry) for name, says in _GAUGES}

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        counts = self._requests.counts
        key = (route, method, status)
        counts[key] = counts.get(key, 0) + 1
        cells = self._requests.times.get(route)
        if cells is None:
            cells = self._requests.times[route] = [0.0] * (len(_BUCKETS) + 2)  # the last cell is the sum of seconds
        cells[bisect_left(_BUCKETS, seconds)] += 1
        cells[-1] += seconds

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
