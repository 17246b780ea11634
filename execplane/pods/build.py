"""One attempt's pod: layers merged, hook applied, identity stamped, checked, and fixed as bytes.

The bytes are the intent: they are stored before the create call and posted as they are, also after a crash, because
a hook may well give another result the second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from execplane.contract.errors import InvalidInput
from execplane.contract.messages import LAUNCH_AUDIENCE
from execplane.contract.workload import Intent, Layered, WorkerStart, Workload
from execplane.pods.fields import BASE
from execplane.pods.hook import HOOK, Mutate, apply
from execplane.pods.identity import CLUSTER, identity_annotations, identity_labels, pod_name
from execplane.pods.lessons import LessonOptions, with_lessons
from execplane.pods.merge import Layer, merge
from execplane.pods.policy import PodPolicy, demand
from execplane.pods.stamp import IDENTITY, Stamper
from execplane.pods.tree import Node, below, plain, plain_object, plant, provenance
from execplane.pods.validate import check_layer, check_pod

TOKEN_VOLUME = "execplane-token"  # noqa: S105 - a name
TOKEN_FOLDER = "/var/run/secrets/execplane.io"  # noqa: S105 - a path
TOKEN_FILE = f"{TOKEN_FOLDER}/token"
OPTIONS = "options"
"""The layer of what the deployment's settings say."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What the deployment's settings say about every pod."""

    namespace: str = "default"
    namespaces: tuple[str, ...] = ()
    """The only namespaces a layer may wish for besides `namespace` and what a rule gives to its task."""
    rule_namespaces: tuple[str, ...] = ()
    """What rules give to some task: the operators' mutation hook may wish for these, too."""
    image: str = ""
    """Image of `base` where no layer names one."""
    version: str = ""
    """execplane's version, for the label."""
    cluster: str = ""
    """The named cluster, for its label; empty: the executor `kubernetes`."""
    worker_args: tuple[str, ...] = ("python", "-m", "execplane.worker")
    """How the worker is started; its WorkerStart as JSON is appended."""
    allow_command: bool = True
    """Whether a layer may wrap the worker with a `command` of its own."""
    attempt_url: str = ""
    """Address of an attempt's page, with {attempt_id} in it; empty: no annotation."""
    token_expiration_seconds: int = 3600
    lessons: LessonOptions = field(default_factory=LessonOptions)
    policies: tuple[PodPolicy, ...] = ()
    """What every pod must keep to."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A pod, ready to be posted. `body` is canonical JSON of `pod`."""

    pod: dict[str, Any]
    body: bytes
    namespace: str
    name: str
    provenance: dict[str, str]
    overruled: tuple[Layered, ...]
    template_rev: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


_canonical = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Any) -> bytes:
    """Equal values give equal bytes."""
    return _canonical.encode(value)


def build_pod(
    workload: Workload, layers: Sequence[Layer], options: BuildOptions, mutate: Mutate | None = None
) -> Built:
    """The pod of this attempt. The first layer is the template (already checked); the others are checked here.

    Raises InvalidInput, naming field, layer and what to write instead, when they make nothing launchable, or
    nothing that the operators' policies allow.
    """
    for layer in layers[1:]:
        check_layer(layer)
    tree = with_lessons(_with_image(merge(layers).tree, options), workload, options.lessons)
    given = _given_by_rules(layers)
    tree, overruled = _stamped(tree, workload, options, given)
    overruled = [*_lost_to_rules(layers), *overruled]
    if mutate is not None:
        # The hook sees the pod as it will be sent, identity included: hooks choose by dag_id, as they did in Airflow.
        tree = apply(tree, mutate(plain_object(tree)))
        tree, again = _stamped(tree, workload, options, given)
        overruled += again
    check_pod(tree)
    _check_containers(tree)
    pod = plain_object(tree)
    built = Built(
        pod=pod,
        body=canonical_json(pod),
        namespace=tree.text("metadata", "namespace"),
        name=tree.text("metadata", "name"),
        provenance=provenance(tree),
        overruled=tuple(overruled),
        template_rev=hashlib.sha256(canonical_json(layers[0].pod)).hexdigest()[:12],
    )
    keep_to_policies(built, options)
    return built


def keep_to_policies(built: Built, options: BuildOptions) -> None:
    """Raises PolicyViolation, whichever layer it was."""
    demand(built.pod, built.namespace, built.provenance, options.policies)


def build_intent(built: Built, workload: Workload, cluster: str = "") -> Intent:
    """What the driver stores before the create call."""
    return Intent(
        attempt_id=workload.attempt_id,
        key=workload.key,
        namespace=built.namespace,
        name=built.name,
        cluster=cluster,
        priority=workload.priority,
        body=built.body,
        provenance=built.provenance,
        overruled=built.overruled,
        template_rev=built.template_rev,
    )


def worker_start(workload: Workload) -> WorkerStart:
    """What the worker is told in its args; nothing in it is secret."""
    return WorkerStart(
        attempt_id=workload.attempt_id,
        key=workload.key,
        api_url=workload.api_url,
        deployment_id=workload.deployment_id,
    )


def start_argument(workload: Workload) -> str:
    """The worker's last argument. The kubelet expands $(NAME) and halves $$; as an escape it is still the same JSON."""
    return msgspec.json.encode(worker_start(workload)).decode().replace("$", "\\u0024")


def attempt_url(workload: Workload, options: BuildOptions) -> str:
    """Address of the attempt's page; "" where the deployment does not know its own."""
    return options.attempt_url.format(attempt_id=workload.attempt_id) if options.attempt_url else ""


def _stamped(
    tree: Node, workload: Workload, options: BuildOptions, given: frozenset[str]
) -> tuple[Node, list[Layered]]:
    namespace = _namespace(tree, options, given)
    _check_command(tree, options)
    stamp = Stamper(tree)
    stamp.top("apiVersion", "v1")
    stamp.top("kind", "Pod")
    stamp.remove_server_fields()
    stamp.metadata("name", pod_name(workload.key, workload.deployment_id))
    stamp.metadata("namespace", namespace)
    stamp.entries("labels", identity_labels(workload, options.version, options.cluster))
    if not options.cluster:
        # A pod that carried it would be hidden from its own executor.
        stamp.without_entry("labels", CLUSTER)
    stamp.entries("annotations", identity_annotations(workload, attempt_url(workload, options)))
    stamp.spec("restartPolicy", "Never")
    # Per-container restarts would run the task again in the same pod, whatever the pod's own policy says.
    stamp.base_without("restartPolicy")
    stamp.base_without("restartPolicyRules")
    stamp.base("args", [*options.worker_args, start_argument(workload)])
    stamp.base("terminationMessagePath", "/dev/termination-log")
    # A worker that cannot even start leaves no message; then its last output tells more than nothing.
    stamp.base("terminationMessagePolicy", "FallbackToLogsOnError")
    stamp.base_item("env", "name", {"name": "AIRFLOW_IS_K8S_EXECUTOR_POD", "value": "True"})
    stamp.base_item("env", "name", {"name": "EXECPLANE_TOKEN_FILE", "value": TOKEN_FILE})
    uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    stamp.base_item("env", "name", {"name": "EXECPLANE_POD_UID", "valueFrom": uid})
    mount = {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True}
    stamp.base_item("volumeMounts", "mountPath", mount)
    stamp.spec_item("volumes", "name", _token_volume(options))
    return stamp.tree, stamp.overruled


def _token_volume(options: BuildOptions) -> dict[str, Any]:
    """A service-account token bound to this very pod, for execplane's ears only."""
    token = {
        "audience": LAUNCH_AUDIENCE,
        "expirationSeconds": options.token_expiration_seconds,
        "path": "token",
    }
    return {"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}


def _given_by_rules(layers: Sequence[Layer]) -> frozenset[str]:
    """Namespaces that operators' rules give to this task."""
    wishes = ((layer.pod.get("metadata") or {}).get("namespace") for layer in layers if layer.rule)
    return frozenset(str(wish) for wish in wishes if wish)


def _lost_to_rules(layers: Sequence[Layer]) -> list[Layered]:
    """What DAG and task said otherwise than a binding rule."""
    lost = [each for layer in layers for each in layer.overruled]
    binding = [layer for layer in layers if layer.binding]
    if binding:
        free = merge([layer for layer in layers if not layer.binding]).tree
        for layer in binding:
            lost += _clashes(free, plant(layer.pod, layer.name), layers[0].name)
    return lost


def _clashes(said: Node, rule: Node, template: str, path: str = "") -> Iterator[Layered]:
    for name, wanted in rule.fields.items():
        known, where = said.fields.get(name), below(path, name)
        if known is None:
            continue
        if isinstance(wanted.value, dict):
            yield from _clashes(known, wanted, template, where)
        elif known.layer != template and known.value not in (None, "") and known.value != wanted.value:
            yield Layered(path=where, layer=known.layer, wanted=plain(known))


def _namespace(tree: Node, options: BuildOptions, given: frozenset[str]) -> str:
    """The layers' (and the hook's) wish, when it is one that is watched; else the deployment's.

    What a rule gives to one team is no other's to choose: its Secrets are there.
    """
    wish = tree.get("metadata", "namespace")
    if wish is None or not wish.value:
        return options.namespace
    allowed = {options.namespace, *options.namespaces, *given}
    if wish.layer == HOOK:
        allowed |= {*options.rule_namespaces}
    if wish.value not in allowed:
        raise InvalidInput(
            f"metadata.namespace is {wish.value!r} (set by {wish.layer}), where this deployment does not run pods.",
            hint=f"Use one of: {', '.join(sorted(allowed))}; or have it added to kubernetes.namespaces.",
        )
    return str(wish.value)


def _check_command(tree: Node, options: BuildOptions) -> None:
    for container in _containers(tree):
        command = container.get("command")
        if container.text("name") == BASE and command is not None and command.items and not options.allow_command:
            raise InvalidInput(
                f"container {BASE!r} has a command (set by {command.items[0].layer}), which this deployment forbids.",
                hint="Remove it: the worker is started through args.",
            )


def _with_image(tree: Node, options: BuildOptions) -> Node:
    """The deployment's image for `base`, where no layer named one."""
    if not options.image:
        return tree
    spec = tree.get("spec") or Node({}, OPTIONS)
    containers = _containers(tree)
    if not any(container.text("name") == BASE for container in containers):
        containers = [*containers, plant({"name": BASE}, IDENTITY)]
    items = [
        Node({**container.fields, "image": Node(options.image, OPTIONS)}, container.layer)
        if container.text("name") == BASE and not container.text("image")
        else container
        for container in containers
    ]
    new_spec = Node({**spec.fields, "containers": Node(items, spec.layer)}, spec.layer)
    return Node({**tree.fields, "spec": new_spec}, tree.layer)


def _containers(tree: Node) -> list[Node]:
    containers = tree.get("spec", "containers")
    return containers.items if containers is not None else []


def _check_containers(tree: Node) -> None:
    seen: set[str] = set()
    init = tree.get("spec", "initContainers")
    for container in [*(init.items if init else []), *_containers(tree)]:
        name = container.text("name")
        if name in seen:
            raise InvalidInput(
                f"Two containers are named {name!r} (the second is set by {container.layer}).",
                hint="Rename one.",
            )
        seen.add(name)
        if not container.text("image"):
            image_hint = "Name one in the pod template or override, or set EXECPLANE_KUBERNETES__IMAGE."
            only = "" if name == BASE else f" Was {BASE!r} meant?"
            raise InvalidInput(f"Container {name!r} (set by {container.layer}) has no image.", hint=image_hint + only)
