"""The settings of the kubernetes executor."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from execplane.config_sections import Section


class Kubernetes(Section):
    """The kubernetes executor: where and how pods are made."""

    kubeconfig: Path | None = Field(None, description="kubeconfig file; unset: in-cluster, else ~/.kube/config")
    context: str = Field("", description="context of the kubeconfig; empty: its current one")
    namespace: str = Field("default", description="namespace that pods are created in")
    pod_template_file: Path | None = Field(None, description="pod template; unset: the built-in one")
    image: str = Field("", description="image of the container base, where template and override name none")
    api_url: str = Field("", description="where pods find the worker API; empty: `web.url`")
    delete_worker_pods: bool = Field(True, description="delete pods of attempts that ended well")
    delete_worker_pods_on_failure: bool = Field(False, description="delete pods of failed attempts")
    kept_pods_seconds: float = Field(
        0, ge=0, description="how long pods stay that the two settings above keep; 0: as long as the cluster keeps them"
    )
    creation_concurrency: int = Field(16, ge=1, le=128, description="creates under way at once")
    request_timeout_seconds: float = Field(30, gt=0, description="limit of one API call")
    list_interval_seconds: float = Field(60, gt=0, description="how often a full list repairs the watch")
    slots: int = Field(0, ge=0, description="most pods alive at once; 0: no limit")
    avoid_nodes: int = Field(
        3, ge=0, le=20, description="most nodes that a retry stays away from, softly, since they failed it; 0: none"
    )
    oom_memory_factor: float = Field(
        1, ge=1, le=4, description="after an OOM kill the next attempt's memory grows by this; 1: it stays"
    )
    oom_memory_cap_bytes: int = Field(32 << 30, ge=1 << 20, description="most memory that OOM kills raise it to")
    hold_most_seconds: float = Field(86400, ge=0, description="longest hold_on_failure of a task; 0: none is held")
    hold_most_containers: int = Field(20, ge=0, description="most failed containers held at once")
    flight_record_days: int = Field(
        30, ge=0, description="how long what is recorded of a pod at its end is kept; 0: nothing is recorded"
    )
    worker_source: Literal["bundle", "image", "volume"] = Field("bundle", description="where pods find DAG files")
    worker_dags_folder: str = Field("", description="for image and volume: the folder in the container")
