"""The one object that everybody counts with, and which one that is in this process.

It costs a microsecond when nothing is configured, may be called from any thread, and never raises: a metric must not
fail the thing that it measures. A call that does not fit the catalogue is dropped and logged once; a test reads every
call in the sources, so that none is found only in production.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from execplane.metrics.catalogue import CATALOGUE, Kind, Metric

log = logging.getLogger(__name__)

Labels = Mapping[str, str]
Sample = tuple[float, Labels]


class Sink(Protocol):
    """Where samples go: Prometheus, statsd. Called from any thread, with what the catalogue allows."""

    def count(self, metric: Metric, amount: float, labels: Labels) -> None: ...

    def observe(self, metric: Metric, seconds: float, labels: Labels) -> None: ...

    def set(self, metric: Metric, value: float, labels: Labels) -> None: ...

    def replace(self, metric: Metric, samples: Sequence[Sample]) -> None:
        """All of a gauge's samples: those that are not among them are gone."""

    def forget(self, metric: Metric) -> None:
        """Another process speaks of this gauge now."""

    def close(self) -> None:
        """Send what is still to be sent, for a moment."""


class Metrics:
    """Checks against the catalogue and hands on to the sinks; without sinks it is the default that does nothing."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = tuple(sinks)
        self._complained: dict[str, None] = {}

    def count(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter."""
        metric = CATALOGUE.get(name)
        if metric is None or metric.kind is not Kind.COUNTER or labels.keys() != metric.takes:
            self._refuse(name, Kind.COUNTER, labels)
            return
        for sink in self._sinks:
            try:
                sink.count(metric, amount, labels)
            except Exception:
                self._failed(name)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Add a duration to a histogram."""
        metric = CATALOGUE.get(name)
        if metric is None or metric.kind is not Kind.HISTOGRAM or labels.keys() != metric.takes:
            self._refuse(name, Kind.HISTOGRAM, labels)
            return
        for sink in self._sinks:
            try:
                sink.observe(metric, seconds, labels)
            except Exception:
                self._failed(name)

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """Set one sample of a gauge."""
        metric = CATALOGUE.get(name)
        if metric is None or metric.kind is not Kind.GAUGE or labels.keys() != metric.takes:
            self._refuse(name, Kind.GAUGE, labels)
            return
        for sink in self._sinks:
            try:
                sink.set(metric, value, labels)
            except Exception:
                self._failed(name)

    def replace(self, name: str, samples: Iterable[Sample], /) -> None:
        """Set all samples of a gauge at once; what was there and is not among them is gone."""
        metric = CATALOGUE.get(name)
        found = list(samples)
        if metric is None or metric.kind is not Kind.GAUGE:
            self._refuse(name, Kind.GAUGE, {})
            return
        fitting = [sample for sample in found if sample[1].keys() == metric.takes]
        if len(fitting) < len(found):
            self._refuse(name, Kind.GAUGE, next(labels for _, labels in found if labels.keys() != metric.takes))
        for sink in self._sinks:
            try:
                sink.replace(metric, fitting)
            except Exception:
                self._failed(name)

    def forget(self, name: str, /) -> None:
        """This process no longer speaks of the gauge: another one does."""
        metric = CATALOGUE.get(name)
        if metric is None or metric.kind is not Kind.GAUGE:
            self._refuse(name, Kind.GAUGE, {})
            return
        for sink in self._sinks:
            try:
                sink.forget(metric)
            except Exception:
                self._failed(name)

    def close(self) -> None:
        """Give the sinks a moment to send the rest."""
        for sink in self._sinks:
            try:
                sink.close()
            except Exception:
                self._failed(type(sink).__name__)

    def _refuse(self, name: str, kind: Kind, labels: Labels) -> None:
        if self._first_time(name):
            wanted = CATALOGUE.get(name)
            takes = f"is a {wanted.kind} that takes {sorted(wanted.takes)}" if wanted else "is not in the catalogue"
            log.error("metric %s dropped: sent as a %s with %s, it %s", name, kind, sorted(labels), takes)

    def _failed(self, name: str) -> None:
        if self._first_time(name):
            log.exception("metric %s could not be emitted; this is logged once", name)

    def _first_time(self, name: str) -> bool:
        if name in self._complained:
            return False
        self._complained[name] = None
        return True


_current = Metrics()


def current() -> Metrics:
    """This process's emitter; it does nothing until `compose` has set one. Ask at each call, never keep it."""
    return _current


def use(metrics: Metrics) -> Metrics:
    """Set this process's emitter (by `compose`, once, before the first loop); gives the one before."""
    global _current
    before, _current = _current, metrics
    return before
