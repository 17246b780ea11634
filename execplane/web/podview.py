"""A pod for people: its YAML as it was sent, its last status, and the commands that look at it. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from execplane.pods.flight import masked
from execplane.store.queries.attempts import AttemptMark

_KEY = re.compile(r"^(\s*(?:- )*)([^\s'\"#:][^:]*|'[^']*'|\"[^\"]*\")(:)(\s.*|)$")
_ODD_BREAKS = re.compile(r"[\x85\u2028\u2029\ufeff]|\\u(?:0085|2028|2029|feff)", re.IGNORECASE)
_ATOM = re.compile(r"^\s*(-?[\d.]+|true|false|null|~)$")


@dataclass(frozen=True, kw_only=True)
class Container:
    name: str
    image: str
    state: str
    """"waiting" | "running" | "terminated" | ""."""
    reason: str
    message: str
    exit_code: int | None
    restarts: int
    ready: bool
    signal: int
    image_id: str
    is_init: bool = False


@dataclass(frozen=True, kw_only=True)
class Condition:
    type: str
    status: str
    reason: str
    message: str
    at: str


@dataclass(frozen=True, kw_only=True)
class PodStatus:
    phase: str
    reason: str
    message: str
    host_ip: str
    pod_ip: str
    qos: str
    containers: tuple[Container, ...]
    conditions: tuple[Condition, ...]


def is_pod(attempt: AttemptMark) -> bool:
    """A process of the local executor has a label, but no namespace."""
    return bool(attempt.namespace)


def as_yaml(sent: bytes) -> str:
    """The sent JSON as YAML in its own order, secrets in its environment masked; what is not JSON comes as text."""
    try:
        body = json.loads(sent)
    except ValueError:
        return sent.decode("utf-8", errors="replace")
    if isinstance(body, dict) and isinstance(body.get("spec"), dict):
        body["spec"] = masked(body["spec"])
    # PyYAML writes these line breaks bare and reads them back as others.
    plain = not _ODD_BREAKS.search(sent.decode("utf-8", errors="replace"))
    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=plain, width=110))


def yaml_lines(sent: bytes | None) -> list[SafeString]:
    """Lines with their keys and plain values marked up."""
    return [_marked(line) for line in as_yaml(sent).splitlines()] if sent else []


def _marked(line: str) -> SafeString:
    found = _KEY.match(line)
    if not found:
        return mark_safe(escape(line))  # noqa: S308 - escaped
    lead, key, colon, value = found.groups()
    kind = "y-atom" if _ATOM.match(value) else "y-text"
    return mark_safe(  # noqa: S308 - every part is escaped
        f'{escape(lead)}<span class="y-key">{escape(key)}</span>{colon}<span class="{kind}">{escape(value)}</span>'
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def status(raw: Mapping[str, Any] | None) -> PodStatus | None:
    """The parts of a pod's status that explain it. Takes the status, or a whole pod with one."""
    if not raw:
        return None
    found = _mapping(raw.get("status")) or raw
    containers = [_container(item, True) for item in _items(found.get("initContainerStatuses"))]
    containers += [_container(item, False) for item in _items(found.get("containerStatuses"))]
    return PodStatus(
        phase=str(found.get("phase") or ""),
        reason=str(found.get("reason") or ""),
        message=str(found.get("message") or ""),
        host_ip=str(found.get("hostIP") or ""),
        pod_ip=str(found.get("podIP") or ""),
        qos=str(found.get("qosClass") or ""),
        containers=tuple(containers),
        conditions=tuple(_condition(item) for item in _items(found.get("conditions"))),
    )


def _container(item: Mapping[str, Any], is_init: bool) -> Container:
    state, detail = next(iter(_mapping(item.get("state")).items()), ("", {}))
    facts = _mapping(detail)
    return Container(
        name=str(item.get("name") or ""),
        image=str(item.get("image") or ""),
        state=state,
        reason=str(facts.get("reason") or ""),
        message=str(facts.get("message") or ""),
        exit_code=facts.get("exitCode"),
        restarts=int(item.get("restartCount") or 0),
        ready=bool(item.get("ready")),
        signal=int(facts.get("signal") or 0),
        image_id=str(item.get("imageID") or ""),
        is_init=is_init,
    )


def _condition(item: Mapping[str, Any]) -> Condition:
    return Condition(
        type=str(item.get("type") or ""),
        status=str(item.get("status") or ""),
        reason=str(item.get("reason") or ""),
        message=str(item.get("message") or ""),
        at=str(item.get("lastTransitionTime") or ""),
    )


def exec_command(attempt: AttemptMark) -> str:
    """A shell in the task's container; "" where there is none."""
    if not is_pod(attempt) or not attempt.pod_name:
        return ""
    return f"kubectl -n {shlex.quote(attempt.namespace)} exec -it {shlex.quote(attempt.pod_name)} -c base -- sh"


def commands(attempt: AttemptMark) -> tuple[str, ...]:
    """What an operator would type next."""
    if not is_pod(attempt) or not attempt.pod_name:
        return ()
    where = f"kubectl -n {shlex.quote(attempt.namespace)}"
    name = shlex.quote(attempt.pod_name)
    return (f"{where} describe pod {name}", f"{where} logs {name} --all-containers", f"{where} get pod {name} -o yaml")
