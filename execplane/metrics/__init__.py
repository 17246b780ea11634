"""What is measured: one catalogue of every metric, and the emitter that all rooms speak to.

    metrics.current().count("execplane_loop_errors_total", loop=name)

Rooms know this module only; neither prometheus_client nor statsd is imported before `compose` asks for an emitter.
"""

from __future__ import annotations

from execplane.metrics.emitter import Metrics, current, use

__all__ = ["Metrics", "current", "use"]
