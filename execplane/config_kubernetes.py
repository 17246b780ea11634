"""The settings of the kubernetes executor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from execplane.config_policies import PodPolicy
from execplane.config_rules import PodRule, namespace_name
from execplane.config_sections import Section, comma_separated

Outcome = Literal["success", "skipped", "rescheduled", "failed", "cancelled"]
"""How an attempt ends."""


class Kubernetes(Section):
    """The kubernetes executor: where and how pods are made."""

    kubeconfig: Path | None = Field(None, description="kubeconfig file; unset: in-cluster, else ~/.kube/config")
    context: str = Field("", description="context of the kubeconfig; empty: its current one")
    in_cluster: bool | None = Field(
        None, description="true: only the pod's service account; false: only a kubeconfig; unset: what there is"
    )
    ssl_ca_cert: Path | None = Field(
        None, description="file of the authorities to trust; unset: the kubeconfig's or the service account's"
    )
    verify_ssl: bool | None = Field(
        None,
        description="false: whoever answers is believed and shown our credentials; true: never, whatever the "
        "kubeconfig says; unset: as the kubeconfig says, true where ssl_ca_cert is set",
    )
    proxy: SecretStr = Field(
        SecretStr(""),
        description="http(s)://[user:password@]host[:port], NO_PROXY or not; empty: the kubeconfig's, else HTTPS_PROXY "
        "and NO_PROXY",
    )
    namespace: str = Field("default", description="namespace that pods are created in")
    namespaces: list[str] = Field(
        [], description="more namespaces that templates and overrides may choose, separated by ','"
    )
    rules: list[PodRule] = Field(
        [],
        description="which tasks' pods get which namespace, service account, template, labels; the first match counts, "
        "see docs/namespaces-and-clusters.md",
    )
    policies: list[PodPolicy] = Field(
        [], description="what no pod of a namespace may have, or every one must have; see docs/policies.md"
    )
    mutation_hook_timeout_seconds: float = Field(
        5, gt=0, le=300, description="limit of one call of pod_mutation_hook; see docs/mutation-hook.md"
    )
    mutation_hook_memory_bytes: int = Field(
        1 << 30, ge=0, description="address space of the process that runs pod_mutation_hook; 0: no limit"
    )
    pod_template_file: Path | None = Field(None, description="pod template; unset: the built-in one")
    image: str = Field("", description="image of the container base, where template and override name none")
    api_url: str = Field("", description="where pods find the worker API; empty: `web.url`")
    delete_worker_pods: bool = Field(True, description="delete pods of attempts that ended well")
    delete_worker_pods_on_failure: bool = Field(False, description="delete pods of failed attempts")
    kept_pods_seconds: float = Field(
        0, ge=0, description="how long pods stay that the two settings above keep; 0: as long as the cluster keeps them"
    )
    kept_seconds_by_outcome: dict[Outcome, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="how long pods of an outcome (success, skipped, rescheduled, failed, cancelled) stay, whatever the "
        "three settings above say; 0: deleted at once",
    )
    delete_grace_seconds: int | None = Field(
        None, ge=1, description="grace period of deletes of pods whose attempt has ended; unset: the pod's own"
    )
    creation_concurrency: int = Field(
        32, ge=1, le=128, description="most creates under way at once; fewer while the API server is slow or refuses"
    )
    connect_timeout_seconds: float = Field(10, gt=0, description="limit of one connect to the API server")
    request_timeout_seconds: float = Field(30, gt=0, description="limit of one API call")
    enable_tcp_keepalive: bool = Field(True, description="notice dead connections while nothing is sent")
    tcp_keep_idle_seconds: int = Field(30, ge=1, description="silence before the first keepalive probe")
    tcp_keep_interval_seconds: int = Field(10, ge=1, description="between keepalive probes")
    tcp_keep_count: int = Field(6, ge=1, description="unanswered probes after which a connection is dead")
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

    @field_validator("mutation_hook_memory_bytes")
    @classmethod
    def _enough_to_start(cls, value: int) -> int:
        if 0 < value < 256 << 20:
            raise ValueError("the process needs 268435456 bytes to start; 0 is no limit")
        return value

    @field_validator("proxy")
    @classmethod
    def _address_of_a_proxy(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not _is_proxy(value.get_secret_value()):
            # Not what it is: it may hold a password.
            raise ValueError("it must be http(s)://[user:password@]host[:port]; in a password, / is %2F and @ is %40")
        return value

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return comma_separated(value)

    @field_validator("namespaces", mode="after")
    @classmethod
    def _names_of_namespaces(cls, value: list[str]) -> list[str]:
        return [namespace_name(name) for name in value]


def _is_proxy(address: str) -> bool:
    try:
        found = urlsplit(address)
        port = found.port
    except ValueError:
        return False
    rest = found.path.strip("/") or found.query or found.fragment
    return found.scheme in ("http", "https") and bool(found.hostname) and port != 0 and not rest


_WHOLE_DEPLOYMENT = ("flight_record_days", "hold_most_seconds", "hold_most_containers")
"""Limits that are kept over all executors together."""
_OF_THE_API_SERVER = ("ssl_ca_cert", "verify_ssl", "proxy")


class Cluster(Kubernetes):
    """One of `clusters`: what it does not say is as in `kubernetes`."""

    @model_validator(mode="before")
    @classmethod
    def _only_its_own(cls, value: Any) -> Any:
        for name in _WHOLE_DEPLOYMENT:
            if isinstance(value, dict) and name in value:
                raise ValueError(f"{name} holds for the whole deployment: set kubernetes.{name}")
        return value

    def over(self, base: Kubernetes) -> Kubernetes:
        """`base` with what this cluster says. How the one API server is reached says nothing about another one."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        if self.kubeconfig or self.context:
            another = {name: Kubernetes.model_fields[name].default for name in _OF_THE_API_SERVER}
            own = {**another, "in_cluster": False, **({"context": ""} if self.kubeconfig else {}), **own}
        return base.model_copy(update=own)
