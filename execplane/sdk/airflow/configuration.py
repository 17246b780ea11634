"""`airflow.configuration.conf`, as far as a DAG file can use it: the DAGs folder, and AIRFLOW__SECTION__KEY."""

from __future__ import annotations

import os
from typing import Any

from execplane.sdk import scope
from execplane.sdk.exceptions import AirflowConfigException

_UNSET: Any = object()


class AirflowConf:
    """Reads the environment; every other key is an error, unless the caller has a fallback."""

    def get(self, section: str, key: str, fallback: Any = _UNSET, **_: Any) -> Any:
        found = os.environ.get(f"AIRFLOW__{section.upper().replace('.', '_')}__{key.upper()}")
        if found is not None:
            return found
        if (section.lower(), key.lower()) == ("core", "dags_folder"):
            return os.environ.get("EXECPLANE_DAGS_FOLDER") or os.path.dirname(scope.current_file) or os.getcwd()
        if fallback is not _UNSET:
            return fallback
        raise AirflowConfigException(
            f"section/key [{section.lower()}/{key.lower()}] not found in config.",
            hint=f"execplane reads no airflow.cfg: set AIRFLOW__{section.upper()}__{key.upper()}, or use a Variable.",
        )

    def getboolean(self, section: str, key: str, fallback: Any = _UNSET, **_: Any) -> bool:
        return str(self.get(section, key, fallback)).strip().lower() in ("t", "true", "1", "yes", "on")

    def getint(self, section: str, key: str, fallback: Any = _UNSET, **_: Any) -> int:
        return int(self.get(section, key, fallback))

    def getfloat(self, section: str, key: str, fallback: Any = _UNSET, **_: Any) -> float:
        return float(self.get(section, key, fallback))

    def has_option(self, section: str, key: str) -> bool:
        return self.get(section, key, None) is not None


conf = AirflowConf()
get = conf.get
