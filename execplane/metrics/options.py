"""How samples leave the process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MetricsOptions:
    prometheus: bool = True
    statsd_host: str = ""
    """Empty: nothing is sent."""
    statsd_port: int = 8125
    statsd_prefix: str = "airflow"

    @property
    def wanted(self) -> bool:
        """Whether samples go anywhere."""
        return self.prometheus or bool(self.statsd_host)
