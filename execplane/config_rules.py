"""One rule of `failures.rules`, and one of `kubernetes.rules`, as the settings take them: apart from the other
settings, because each is one of many."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator, model_validator

from execplane.contract.categories import Budget, Category


class FailureRule(BaseModel):
    """Which failures (all that is named must match) are paid from what; docs/failures.md explains."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    budget: Budget
    category: str = ""
    exit_codes: tuple[int, ...] = ()
    reason: str = ""
    message: str = ""
    hint: str = ""
    name: str = ""

    @field_validator("category")
    @classmethod
    def _known_category(cls, value: str) -> str:
        if value and value not in set(Category):
            near = difflib.get_close_matches(value, set(Category), n=1, cutoff=0.5)
            raise ValueError(f"there is no category {value!r}.{f' Did you mean {near[0]}?' if near else ''}")
        return value

    @field_validator("message")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression ({error})") from None
        return value

    @field_validator("name")
    @classmethod
    def _is_a_new_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", value):
            raise ValueError(f"{value!r} is not made of a-z, 0-9 and _, or is longer than 40")
        if value in set(Category):
            raise ValueError(f"{value!r} is a category of execplane's own, and its meaning stays. Choose another name")
        return value

    @model_validator(mode="after")
    def _matches_something(self) -> FailureRule:
        if not (self.category or self.exit_codes or self.reason or self.message):
            raise ValueError("it names no category, exit_codes, reason or message, so it would match every failure")
        return self


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Globs = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
"""One glob or a list of them: any of them may match."""

_MATCHES = ("dag_id", "task_id", "tag", "owner", "queue", "pool")
_SETS = ("namespace", "service_account", "pod_template_file", "labels", "annotations")

_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_PART}(\.{_PART})*")
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_WORD_SAID = "at most 63 of A-Z, a-z, 0-9, -, _ and ., letters or digits at both ends"


class PodRule(BaseModel):
    """Which tasks' pods (all that is named must match) get what; docs/namespaces-and-clusters.md explains."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: str = ""
    dag_id: Globs = ()
    task_id: Globs = ()
    tag: Globs = ()
    owner: Globs = ()
    queue: Globs = ()
    pool: Globs = ()
    namespace: str = ""
    service_account: str = ""
    pod_template_file: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    binding: bool = False
    final: bool = True

    @field_validator("namespace")
    @classmethod
    def _names_a_namespace(cls, value: str) -> str:
        return namespace_name(value) if value else value

    @field_validator("service_account")
    @classmethod
    def _names_a_service_account(cls, value: str) -> str:
        if value and not (_SUBDOMAIN.fullmatch(value) and len(value) <= 253):
            raise ValueError(f"{value!r} is not a service account's name: parts of a-z, 0-9 and -, joined by dots")
        return value

    @field_validator("labels", "annotations")
    @classmethod
    def _keys_can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            prefix, slash, name = key.rpartition("/")
            domain = not slash or (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253)
            if not (domain and _WORD.fullmatch(name)):
                raise ValueError(
                    f"{key!r} is not a key: {_WORD_SAID}, if wanted after a DNS name and a slash (example.com/team)"
                )
        return value

    @field_validator("labels")
    @classmethod
    def _values_can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        for key, said in value.items():
            if said and not _WORD.fullmatch(said):
                raise ValueError(f"{said!r} of {key} is not a label's value: {_WORD_SAID}")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> PodRule:
        if not any(getattr(self, name) for name in _MATCHES):
            words = ", ".join(_MATCHES)
            raise ValueError(f'it names none of {words}; dag_id = "*" matches every task')
        if not any(getattr(self, name) for name in _SETS):
            raise ValueError(f"it sets none of {', '.join(_SETS)}")
        return self


def namespace_name(value: str) -> str:
    """Raises ValueError for what the API server would not take as a namespace's name."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise ValueError(f"{value!r} is not a namespace's name: a-z, 0-9 and -, at most 63")
    return value
