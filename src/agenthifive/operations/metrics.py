"""Figures for Prometheus. No label carries a tenant, agent, user, host or URL. Source: operations.md section 8.2."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """The process's registry and the few figures rooms report to it."""

    def __init__(self, version: str, git_sha: str) -> None:
        self.registry = CollectorRegistry()
        build = Gauge("agenthifive_build_info", "Version", ["version", "git_sha"], registry=self.registry)
        build.labels(version, git_sha).set(1)
        self._requests = Counter(
            "agenthifive_http_requests", "Answered requests", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "agenthifive_http_request_duration_seconds", "Time to answer", ["route"], registry=self.registry,
            buckets=_BUCKETS,
        )  # fmt: skip
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.gauges = {
            name: Gauge(f"agenthifive_{name}", meaning, registry=self.registry)
            for name, meaning in (
                ("broker_in_flight", "Brokered calls running"),
                ("streams_open", "Brokered streams running"),
                ("audit_queue_depth", "Audit rows waiting to be written"),
                ("grants_age_seconds", "Time since the change counter was last known to be right"),
                ("db_pool_in_use", "Pooled connections in use"),
            )
        }

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, method, status)
        children = self._children.get(key)
        if children is None:
            children = (self._requests.labels(route, method, str(status)), self._seconds.labels(route))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
