"""What a deployment decides for every DAG that does not decide it itself.

The two silent flips between Airflow 2 and 3 (what the logical date means, and whether missed intervals are caught up)
are explicit: they come from here, or from the DAG, and stand in the DagVersion.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from execplane.contract.errors import ConfigError

SEMANTICS = ("interval", "instant")


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Deployment-wide defaults of DAG parameters."""

    timetable_semantics: str = "interval"
    """"interval": Airflow 2, the logical date is the interval's start. "instant": Airflow 3, the run's moment."""
    catchup: bool = False
    executors: tuple[str, ...] = ()
    """Those that the deployment runs; (): not known here, and then any name is taken."""

    def __post_init__(self) -> None:
        if self.timetable_semantics not in SEMANTICS:
            raise ConfigError(
                f"EXECPLANE_TIMETABLE_SEMANTICS is {self.timetable_semantics!r}.",
                hint="Use 'interval' (Airflow 2) or 'instant' (Airflow 3).",
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Defaults:
        """EXECPLANE_TIMETABLE_SEMANTICS, …CATCHUP_BY_DEFAULT, …KNOWN_EXECUTORS: as the parser's child has them."""
        found = os.environ if environ is None else environ
        return cls(
            timetable_semantics=found.get("EXECPLANE_TIMETABLE_SEMANTICS", "interval") or "interval",
            catchup=found.get("EXECPLANE_CATCHUP_BY_DEFAULT", "").strip().lower() in ("1", "true", "yes", "on"),
            executors=tuple(found.get("EXECPLANE_KNOWN_EXECUTORS", "").split()),
        )
