"""Operators' policies: what no pod may have, or every pod must have, whichever layer said otherwise. Pure.

Checked on the pod as it will be sent, after the mutation hook and the identity stamp. All that is wrong is told at
once, each with its field, the layer that set it, and the policy. What is not set counts as what Kubernetes makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from execplane.contract.errors import PolicyViolation
from execplane.pods.policy_values import has_prefix, image_allowed, is_stated, too_much
from execplane.pods.tree import below

Allowance = Literal["allow", "forbid"]
Demand = Literal["allow", "forbid", "require"]
_MOST_TOLD = 20
_MOST_CHARACTERS = 120
_UNLIMITED_BY_0 = ("cpu", "memory")
"""A limit of 0 lets a container have all there is, whatever a LimitRange would have made of none."""
_HOST = {"host_network": "hostNetwork", "host_pid": "hostPID", "host_ipc": "hostIPC"}


@dataclass(frozen=True, kw_only=True)
class PodPolicy:
    """What it does not name it does not look at. Lists of what is allowed: None allows all, () nothing."""

    name: str
    namespace: tuple[str, ...] = ("*",)
    """Globs of the namespaces whose pods it holds for."""
    privileged: Demand = "allow"
    privilege_escalation: Allowance = "allow"
    host_network: Demand = "allow"
    host_pid: Demand = "allow"
    host_ipc: Demand = "allow"
    init_containers: Allowance = "allow"
    host_paths: tuple[str, ...] | None = None
    """Allowed: these paths, and what lies below."""
    image_registries: tuple[str, ...] | None = None
    """Allowed: a registry, or a registry and the beginning of a repository's path."""
    service_accounts: tuple[str, ...] | None = None
    """Allowed, as globs."""
    capabilities: tuple[str, ...] | None = None
    """Allowed to be added."""
    drop_capabilities: tuple[str, ...] = ()
    """Every container drops these (or ALL)."""
    require_limits: tuple[str, ...] = ()
    require_requests: tuple[str, ...] = ()
    """Resources for which every container says a limit, a request."""
    max_resources: Mapping[str, str] = field(default_factory=dict)
    """Most that a container requests of a resource, or is limited to."""
    require_labels: Mapping[str, str] = field(default_factory=dict)
    forbid_labels: Mapping[str, str] = field(default_factory=dict)
    require_node_selector: Mapping[str, str] = field(default_factory=dict)
    forbid_node_selector: Mapping[str, str] = field(default_factory=dict)
    """Keys, and globs of values."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One field that a policy does not allow."""

    policy: str
    path: str
    value: Any
    """None: it is not set."""
    layer: str
    """Who set it; "" where nobody did."""
    rule: str
    hint: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.path} is not set, and {self.rule} (policy {self.policy})"
        said = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"{self.path} is {_short(said)} (set by {self.layer}), and {self.rule} (policy {self.policy})"


def demand(
    pod: Mapping[str, Any], namespace: str, provenance: Mapping[str, str], policies: Sequence[PodPolicy]
) -> None:
    """Raises PolicyViolation that tells all that is wrong."""
    found = violations(pod, namespace, provenance, policies)
    if not found:
        return
    told = "; ".join(str(one) for one in found[:_MOST_TOLD])
    more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    hints = " ".join(dict.fromkeys(one.hint for one in found[:_MOST_TOLD]))
    names = ", ".join(dict.fromkeys(one.policy for one in found))
    raise PolicyViolation(
        f"The pod is not allowed in namespace {namespace}: {told}{more}.",
        hint=f"{hints} Or ask who runs execplane to change the policy {names} (kubernetes.policies).",
    )


def violations(
    pod: Mapping[str, Any], namespace: str, provenance: Mapping[str, str], policies: Sequence[PodPolicy]
) -> list[Violation]:
    """All that the policies of this namespace do not allow. `provenance`: path of each leaf -> layer."""
    found: list[Violation] = []
    for policy in policies:
        if any(fnmatchcase(namespace, glob) for glob in policy.namespace):
            for path, value, rule, hint in _problems(pod, policy):
                layer = layer_of(path, provenance)
                found.append(Violation(policy=policy.name, path=path, value=value, layer=layer, rule=rule, hint=hint))
    return found


def layer_of(path: str, provenance: Mapping[str, str]) -> str:
    """Who set the field: of a leaf, or of the first leaf below it; "" where there is none."""
    if path in provenance:
        return provenance[path]
    return next((layer for leaf, layer in provenance.items() if leaf.startswith((f"{path}.", f"{path}["))), "")


_Problem = tuple[str, Any, str, str]
"""Path, value (None: not set), rule, hint."""


def _problems(pod: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    spec = pod.get("spec") or {}
    yield from _host(spec, policy)
    yield from _volumes(spec, policy)
    yield from _service_account(spec, policy)
    yield from _pod_resources(spec, policy)
    yield from _entries("metadata.labels", _mapping(pod, "metadata", "labels"), policy.require_labels, "label")
    yield from _forbidden("metadata.labels", _mapping(pod, "metadata", "labels"), policy.forbid_labels, "label")
    yield from _node_selector(spec, policy)
    if policy.init_containers == "forbid":
        for index, container in enumerate(spec.get("initContainers") or []):
            path = f"spec.initContainers[{index}].name"
            yield path, container.get("name"), "init containers are forbidden", "Remove the init containers."
    for check in (_privileges, _capabilities, _image, _resources):
        for kind, path, container in _containers(spec):
            yield from check(path, container, policy, kind, spec)


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind) or []):
            yield kind, f"spec.{kind}[{index}]", container


def _mapping(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        value = value.get(name) or {}
    return value


def _host(spec: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    for name, field_name in _HOST.items():
        wish, value = getattr(policy, name), spec.get(field_name)
        if wish == "forbid" and value:
            yield f"spec.{field_name}", value, "it may only be false", f"Remove {field_name}."
        elif wish == "require" and not value:
            yield f"spec.{field_name}", value, "it must be true", f"Set {field_name}: true."
    # A Windows pod's way to the host; one place for the whole pod, one for each container.
    process = _mapping(spec, "securityContext", "windowsOptions").get("hostProcess")
    if policy.privileged == "forbid" and process:
        path = "spec.securityContext.windowsOptions.hostProcess"
        yield path, process, "privileged containers are forbidden", "Remove hostProcess."


def _volumes(spec: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    for index, volume in enumerate(spec.get("volumes") or []):
        host = volume.get("hostPath")
        if policy.host_paths is not None and host is not None:
            path = str(host.get("path") or "/")
            if not any(has_prefix(path, prefix) for prefix in policy.host_paths):
                rule = _one_of("only paths below", policy.host_paths, "no hostPath is allowed")
                yield f"spec.volumes[{index}].hostPath.path", path, rule, "Use another kind of volume."
        reference = _mapping(volume, "image").get("reference")
        if policy.image_registries is not None and reference and not image_allowed(reference, policy.image_registries):
            yield f"spec.volumes[{index}].image.reference", reference, *_of_registries(policy.image_registries)


def _service_account(spec: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    if policy.service_accounts is None:
        return
    rule = _one_of("only service accounts", policy.service_accounts, "no service account is allowed")
    hint = "Set serviceAccountName to an allowed one."
    # The second is the first's old name, and the API server still takes it.
    named = [(name, spec[name]) for name in ("serviceAccountName", "serviceAccount") if spec.get(name)]
    for name, account in named or [("serviceAccountName", None)]:
        if not any(fnmatchcase(account or "default", glob) for glob in policy.service_accounts):
            yield f"spec.{name}", account, rule if account else f"{rule}; unset, it is default", hint


def _entries(path: str, entries: Mapping[str, Any], wanted: Mapping[str, str], what: str) -> Iterator[_Problem]:
    for name, glob in wanted.items():
        value = entries.get(name)
        if value is None or not fnmatchcase(str(value), glob):
            rule = f"every pod must have this {what}" + ("" if glob == "*" else f" as {glob}")
            yield below(path, name), value, rule, f"Set the {what} {name}" + ("." if glob == "*" else f" to {glob}.")


def _forbidden(path: str, entries: Mapping[str, Any], unwanted: Mapping[str, str], what: str) -> Iterator[_Problem]:
    for name, value in entries.items():
        if any(fnmatchcase(name, key) and fnmatchcase(str(value), glob) for key, glob in unwanted.items()):
            yield below(path, name), value, f"this {what} is forbidden", f"Remove the {what} {name}."


def _node_selector(spec: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    selector = _mapping(spec, "nodeSelector")
    yield from _entries("spec.nodeSelector", selector, policy.require_node_selector, "node selector")
    unwanted = policy.forbid_node_selector
    yield from _forbidden("spec.nodeSelector", selector, unwanted, "node selector")
    if not unwanted:
        return
    if spec.get("nodeName"):
        # It goes past the scheduler, to any node.
        yield "spec.nodeName", spec["nodeName"], "some nodes are forbidden by their labels", "Remove nodeName."
    affinity = _mapping(spec, "affinity", "nodeAffinity")
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = [
        (f"{required}.nodeSelectorTerms[{index}]", term)
        for index, term in enumerate(_mapping(affinity, required).get("nodeSelectorTerms") or [])
    ] + [
        (f"{preferred}[{index}].preference", _mapping(term, "preference"))
        for index, term in enumerate(affinity.get(preferred) or [])
    ]
    for path, term in terms:
        for index, wish in enumerate(term.get("matchExpressions") or []):
            if _asks_for(wish, unwanted):
                where = f"spec.affinity.nodeAffinity.{path}.matchExpressions[{index}].key"
                yield where, wish.get("key"), "this node selector is forbidden", f"Remove the affinity {wish['key']}."
        for index, wish in enumerate(term.get("matchFields") or []):
            # The only field there is is the node's name.
            where = f"spec.affinity.nodeAffinity.{path}.matchFields[{index}].key"
            yield where, wish.get("key"), "some nodes are forbidden by their labels", "Remove matchFields."


def _asks_for(wish: Mapping[str, Any], unwanted: Mapping[str, str]) -> bool:
    globs = [glob for key, glob in unwanted.items() if fnmatchcase(str(wish.get("key")), key)]
    if wish.get("operator") == "In":
        return any(fnmatchcase(str(value), glob) for glob in globs for value in wish.get("values") or [])
    return bool(globs) and wish.get("operator") in ("Exists", "Gt", "Lt")


def _privileges(
    path: str, container: Mapping[str, Any], policy: PodPolicy, kind: str, spec: Mapping[str, Any]
) -> Iterator[_Problem]:
    context = _mapping(container, "securityContext")
    where = f"{path}.securityContext"
    forbidden = "privileged containers are forbidden"
    if policy.privileged == "forbid":
        if context.get("privileged"):
            yield f"{where}.privileged", True, forbidden, "Remove privileged."
        if _mapping(context, "windowsOptions").get("hostProcess"):
            yield f"{where}.windowsOptions.hostProcess", True, forbidden, "Remove hostProcess."
    elif policy.privileged == "require" and kind == "containers" and not context.get("privileged"):
        yield f"{where}.privileged", context.get("privileged"), "it must be true", "Set privileged: true."
    if policy.privilege_escalation == "forbid" and context.get("allowPrivilegeEscalation") is not False:
        value = context.get("allowPrivilegeEscalation")
        hint = "Set allowPrivilegeEscalation: false in the container's securityContext."
        yield f"{where}.allowPrivilegeEscalation", value, "it must be false", hint


def _capabilities(
    path: str, container: Mapping[str, Any], policy: PodPolicy, kind: str, spec: Mapping[str, Any]
) -> Iterator[_Problem]:
    capabilities = _mapping(container, "securityContext", "capabilities")
    where = f"{path}.securityContext.capabilities"
    if policy.capabilities is not None:
        allowed = {_capability(name) for name in policy.capabilities}
        rule = _one_of("only capabilities", policy.capabilities, "no capability may be added")
        for index, name in enumerate(capabilities.get("add") or []):
            if _capability(name) not in allowed:
                yield f"{where}.add[{index}]", name, rule, f"Do not add the capability {name}."
    dropped = {_capability(name) for name in capabilities.get("drop") or []}
    missing = [name for name in policy.drop_capabilities if not {_capability(name), "ALL"} & dropped]
    if missing:
        value = ", ".join(capabilities.get("drop") or []) or None
        named = ", ".join(missing)
        yield f"{where}.drop", value, f"every container must drop {named}", f"Add {named} to capabilities.drop."


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _image(
    path: str, container: Mapping[str, Any], policy: PodPolicy, kind: str, spec: Mapping[str, Any]
) -> Iterator[_Problem]:
    registries, image = policy.image_registries, container.get("image")
    if registries is not None and not (image and image_allowed(image, registries)):
        yield f"{path}.image", image, *_of_registries(registries)


def _of_registries(registries: Sequence[str]) -> tuple[str, str]:
    return _one_of("only images of", registries, "no image is allowed"), "Use an image of an allowed registry."


def _resources(
    path: str, container: Mapping[str, Any], policy: PodPolicy, kind: str, spec: Mapping[str, Any]
) -> Iterator[_Problem]:
    if kind == "ephemeralContainers":
        return  # They cannot have any.
    for what, wanted in (("limits", policy.require_limits), ("requests", policy.require_requests)):
        for name in wanted:
            if not any(is_stated(_quantity(owner, what, name)) for owner in (container, spec)):
                where = below(f"{path}.resources.{what}", name)
                value = _mapping(container, "resources", what).get(name)
                rule = f"every container must set its {what}" + ("" if value is None else "; 0 is as good as none")
                yield where, value, rule, f"Set resources.{what}.{name}."
    yield from _too_much(f"{path}.resources", container, policy)


def _quantity(owner: Mapping[str, Any], what: str, name: str) -> Any:
    """A limit without a request is a request, too."""
    said = _mapping(owner, "resources", what).get(name)
    return _mapping(owner, "resources", "limits").get(name) if said is None else said


def _pod_resources(spec: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    yield from _too_much("spec.resources", spec, policy)


def _too_much(path: str, owner: Mapping[str, Any], policy: PodPolicy) -> Iterator[_Problem]:
    for what in ("limits", "requests"):
        for name, value in _mapping(owner, "resources", what).items():
            most = policy.max_resources.get(name)
            if most is None or value is None:
                continue
            unlimited = what == "limits" and name in _UNLIMITED_BY_0 and not is_stated(value)
            if unlimited or too_much(value, most):
                rule = f"at most {most} is allowed" + ("; 0 is no limit" if unlimited else "")
                hint = f"Set resources.{what}.{name}, or leave it out." if unlimited else f"Ask for less {name}."
                yield below(f"{path}.{what}", name), value, rule, hint


def _one_of(words: str, allowed: Sequence[str], none: str) -> str:
    return f"{words} {', '.join(allowed)} are allowed" if allowed else none


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
