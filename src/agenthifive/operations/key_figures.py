"""Figures about keys for Prometheus, taken when somebody scrapes. Source: contract/operations.md section 1.6."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agenthifive.operations.key_duty import KeyDuty


class KeyFigures(Collector):
    """What this process last counted."""

    def __init__(self, duty: KeyDuty) -> None:
        self._duty = duty

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Records by kid, seals by kid, and records that wait for re-encryption."""
        keyring, records = self._duty.keyring, self._duty.records
        sealed = GaugeMetricFamily("agenthifive_sealed_records", "Sealed records by key", labels=["kid"])
        for kid, count in records.items():
            sealed.add_metric([kid], count)
        yield sealed
        seals = CounterMetricFamily(
            "agenthifive_key_seals", "Seals made with the active key by all replicas", labels=["kid"]
        )
        seals.add_metric([keyring.active_kid], keyring.sealed_count)
        yield seals
        remaining = sum(count for kid, count in records.items() if kid != keyring.active_kid)
        yield GaugeMetricFamily(
            "agenthifive_reencryption_remaining", "Records that are not under the active key", value=remaining
        )
