"""From options to this process's emitter: the only place that knows all sinks."""

from __future__ import annotations

from dataclasses import dataclass

from execplane.contract.clock import Clock
from execplane.metrics.emitter import Metrics, Sink
from execplane.metrics.options import MetricsOptions
from execplane.metrics.page import MetricsPage


@dataclass(frozen=True, kw_only=True)
class Started:
    metrics: Metrics
    page: MetricsPage | None
    """What answers a scrape; None: Prometheus is off."""


def start(options: MetricsOptions, *, version: str, clock: Clock) -> Started:
    """Make the sinks that are configured. A statsd server that cannot be found (yet) stops nothing."""
    sinks: list[Sink] = []
    page = None
    if options.prometheus:
        from execplane.metrics.prometheus import Prometheus

        prometheus = Prometheus()
        sinks.append(prometheus)
        page = MetricsPage(prometheus.text)
    if options.statsd_host:
        from execplane.metrics.statsd import Statsd

        sinks.append(Statsd(options.statsd_host, options.statsd_port, options.statsd_prefix, clock=clock))
    metrics = Metrics(sinks)
    metrics.set("execplane_build_info", 1.0, version=version)
    return Started(metrics=metrics, page=page)
