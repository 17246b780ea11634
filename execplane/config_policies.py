"""One policy of `kubernetes.policies`, as the settings take it."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from execplane.config_rules import Globs
from execplane.pods.policy import Allowance, Demand
from execplane.pods.policy_values import is_registry
from execplane.pods.quantities import amount

_PLACES = {"name", "namespace"}


class PodPolicy(BaseModel):
    """What pods of these namespaces may not have, or must have; docs/policies.md explains."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: str
    namespace: Globs = ("*",)
    privileged: Demand = "allow"
    privilege_escalation: Allowance = "allow"
    host_network: Demand = "allow"
    host_pid: Demand = "allow"
    host_ipc: Demand = "allow"
    init_containers: Allowance = "allow"
    host_paths: tuple[str, ...] | None = None
    image_registries: tuple[str, ...] | None = None
    service_accounts: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    drop_capabilities: tuple[str, ...] = ()
    require_limits: tuple[str, ...] = ()
    require_requests: tuple[str, ...] = ()
    max_resources: dict[str, str] = {}
    require_labels: dict[str, str] = {}
    forbid_labels: dict[str, str] = {}
    require_node_selector: dict[str, str] = {}
    forbid_node_selector: dict[str, str] = {}

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", value):
            raise ValueError(f"{value!r} is not made of a-z, 0-9, - and _, or is longer than 40")
        return value

    @field_validator("namespace")
    @classmethod
    def _holds_somewhere(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError('it names no namespace, so it would hold nowhere; "*" is all of them')
        return value

    @field_validator("host_paths")
    @classmethod
    def _absolute(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for path in value or ():
            if not path.startswith("/"):
                raise ValueError(f"{path!r} does not begin with /")
        return value

    @field_validator("image_registries")
    @classmethod
    def _names_registries(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for registry in value or ():
            if not is_registry(registry.partition("/")[0]):
                raise ValueError(f"{registry!r} names no registry; for Docker Hub write 'docker.io/{registry}'")
        return value

    @field_validator("max_resources")
    @classmethod
    def _quantities(cls, value: dict[str, str]) -> dict[str, str]:
        for name, most in value.items():
            if amount(most) is None:
                raise ValueError(f"{most!r} of {name} is not a quantity, such as 500m or 2Gi")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> PodPolicy:
        said = self.model_dump(exclude_defaults=True).keys() - _PLACES
        if not said:
            raise ValueError("it forbids and requires nothing")
        return self
