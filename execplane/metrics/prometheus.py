"""The Prometheus sink: a registry of our own, so that nothing of a library's global default is mixed in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from execplane.metrics.catalogue import CATALOGUE, Kind, Metric
from execplane.metrics.emitter import Labels, Sample

log = logging.getLogger(__name__)

MOST_SERIES = 10_000
"""Label sets of one metric; more are dropped, so that a flood of DAG ids costs a metric and not the memory."""

_Key = tuple[str, ...]


class _Gauges(Collector):
    """Gauges as dictionaries: only so can all samples of one be exchanged at once, and be gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[_Key, float]] = {}

    def set(self, metric: Metric, key: _Key, value: float) -> None:
        with self._lock:
            self._values.setdefault(metric.name, {})[key] = value

    def replace(self, metric: Metric, values: dict[_Key, float]) -> None:
        with self._lock:
            self._values[metric.name] = values

    def collect(self) -> Iterable[Family]:
        with self._lock:
            found = {name: dict(values) for name, values in self._values.items() if values}
        for name, values in found.items():
            metric = CATALOGUE[name]
            family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
            for key, value in values.items():
                family.add_metric(key, value)
            yield family

    def describe(self) -> Iterable[Family]:
        return []


class Prometheus:
    """A `Sink`, and the text that a scrape gets. With `process_metrics` also CPU, memory and open files of ours."""

    def __init__(self, *, process_metrics: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._gauges = _Gauges()
        self.registry.register(self._gauges)
        if process_metrics:
            ProcessCollector(registry=self.registry)
        self._families: dict[str, Any] = {
            metric.name: self._family(metric) for metric in CATALOGUE.values() if metric.kind is not Kind.GAUGE
        }
        self._children: dict[str, dict[_Key, Any]] = {name: {} for name in self._families}

    def _family(self, metric: Metric) -> Counter | Histogram:
        if metric.kind is Kind.COUNTER:
            return Counter(metric.name, metric.help, metric.labels, registry=self.registry)
        return Histogram(metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets)

    def count(self, metric: Metric, amount: float, labels: Labels) -> None:
        child = self._child(metric, labels)
        if child is not None:
            child.inc(amount)

    def observe(self, metric: Metric, seconds: float, labels: Labels) -> None:
        child = self._child(metric, labels)
        if child is not None:
            child.observe(seconds)

    def _child(self, metric: Metric, labels: Labels) -> Any:
        """The time series; None when the metric has too many. The library makes each child once, under its lock."""
        key = tuple([labels[name] for name in metric.labels])
        children = self._children[metric.name]
        child = children.get(key)
        if child is None and len(children) <= MOST_SERIES:
            if len(children) == MOST_SERIES:
                log.error("metric %s has %d series; new ones are dropped", metric.name, MOST_SERIES)
                children[()] = None
                return None
            family = self._families[metric.name]
            child = children[key] = family.labels(*key) if metric.labels else family
        return child

    def set(self, metric: Metric, value: float, labels: Labels) -> None:
        self._gauges.set(metric, _key(metric, labels), value)

    def replace(self, metric: Metric, samples: Sequence[Sample]) -> None:
        self._gauges.replace(metric, {_key(metric, labels): value for value, labels in samples[:MOST_SERIES]})

    def forget(self, metric: Metric) -> None:
        self._gauges.replace(metric, {})

    def close(self) -> None:
        """Nothing is held back."""

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All samples, and their content type: Prometheus' text, or OpenMetrics for who asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def _key(metric: Metric, labels: Labels) -> _Key:
    return tuple([str(labels[name]) for name in metric.labels])
