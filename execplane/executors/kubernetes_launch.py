"""One create call and all its answers, the missing one included.

The create posts the intent's bytes under a name that only this attempt can have. So whatever happened to an earlier
call, a second one either makes the pod or meets it: 409 is read by comparing identities, never specs, because
admission webhooks change specs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from execplane.contract.categories import Category
from execplane.contract.clock import Clock
from execplane.contract.observations import Acknowledged, Diagnosis, LaunchRefused
from execplane.contract.workload import Intent
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.client import Client
from execplane.kube.errors import (
    AccessDenied,
    AlreadyExists,
    AnswerLost,
    BadRequest,
    Expired,
    KubeError,
    NotFound,
    PreconditionFailed,
    ServerTrouble,
    TooLarge,
    Unauthorized,
    is_quota,
)
from execplane.pods.ends import diagnosis
from execplane.pods.identity import PodIdentity, identity_of, read_identity
from execplane.pods.status import Pod, decode_pod

LaunchAnswer = Acknowledged | LaunchRefused

Heard = Callable[[KubeError | None, float], None]
"""Told how each create was answered, None: with the pod, and when it was sent (monotonic)."""


def launch_one(
    client: Client, intent: Intent, options: KubernetesOptions, clock: Clock, heard: Heard = lambda error, sent: None
) -> LaunchAnswer:
    """Create the intent's pod, or find the one that an earlier call made. Never raises a KubeError."""
    error: KubeError | None = None
    for _ in range(options.lost_answer_rounds):
        try:
            pod = decode_pod(_post(client, intent, clock, heard))
            return _acknowledged(intent, pod, clock, adopted=False)
        except AlreadyExists:
            pass
        except (AnswerLost, ServerTrouble) as lost:
            if _SILENT_WEBHOOK.search(lost.message):
                # Webhooks are asked before the write: there is no pod to be found.
                return _refused(intent, lost, options, clock)
            # A 5xx may come after the write, too: etcd timed out, a proxy gave up.
            error = lost
        except KubeError as refused:
            return _refused(intent, refused, options, clock)
        try:
            return judge_existing(intent, decode_pod(client.get_pod(intent.namespace, intent.name)), clock)
        except NotFound:
            # Not there (or gone again between 409 and GET): the same bytes once more can do no harm.
            continue
        except KubeError as silent:
            error = error or silent
            break
    return _unanswered(intent, error, clock)


def _post(client: Client, intent: Intent, clock: Clock, heard: Heard) -> bytes:
    sent = clock.monotonic()
    try:
        made = client.create_pod(intent.namespace, intent.body)
    except KubeError as error:
        heard(error, sent)
        raise
    heard(None, sent)
    return made


def judge_existing(intent: Intent, pod: Pod, clock: Clock) -> LaunchAnswer:
    """What a pod of this name means for the intent."""
    found, wanted = identity_of(pod.metadata.annotations), intended_identity(intent)
    if found != wanted:
        owner = f"belongs to {found.key} of deployment {found.deployment_id}" if found else "is not execplane's"
        return _name_taken(intent, f"Pod {intent.namespace}/{intent.name} exists already and {owner}.", clock)
    if pod.metadata.deletion_timestamp is not None:
        sentence = f"Pod {intent.namespace}/{intent.name} of this very attempt is being deleted."
        return _name_taken(intent, sentence, clock)
    return _acknowledged(intent, pod, clock, adopted=True)


def intended_identity(intent: Intent) -> PodIdentity | None:
    """The identity that stands in the intent's own bytes."""
    return read_identity(msgspec.json.decode(intent.body, type=dict[str, Any]))


def _acknowledged(intent: Intent, pod: Pod, clock: Clock, *, adopted: bool) -> Acknowledged:
    return Acknowledged(
        attempt_id=intent.attempt_id,
        uid=pod.metadata.uid,
        at=clock.now(),
        adopted=adopted,
        node=pod.spec.node_name,
    )


def _name_taken(intent: Intent, sentence: str, clock: Clock) -> LaunchRefused:
    return LaunchRefused(
        attempt_id=intent.attempt_id,
        diagnosis=diagnosis(Category.NAME_TAKEN, sentence, hint="A new attempt with another name follows."),
        retry=False,
        at=clock.now(),
        new_attempt=True,
    )


def _unanswered(intent: Intent, error: KubeError | None, clock: Clock) -> LaunchRefused:
    said = error.message if error else "the pod came and went each time it was asked for"
    return unknown(intent, said, clock, wait_seconds=error.retry_after_seconds if error else 0.0)


def unknown(intent: Intent, said: str, clock: Clock, *, wait_seconds: float) -> LaunchRefused:
    """Nobody could tell whether the pod exists. The same intent, tried again, will find out."""
    sentence = f"Whether pod {intent.namespace}/{intent.name} was created is not known yet: {said}"
    return LaunchRefused(
        attempt_id=intent.attempt_id,
        diagnosis=diagnosis(Category.API_UNAVAILABLE, sentence, data={"may_exist": True}),
        retry=True,
        at=clock.now(),
        retry_after_seconds=wait_seconds,
    )


def _refused(intent: Intent, error: KubeError, options: KubernetesOptions, clock: Clock) -> LaunchRefused:
    why, retry = explain_refusal(error, intent.provenance)
    wait = error.retry_after_seconds
    if retry and not wait and (isinstance(error, AccessDenied | Unauthorized) or "webhook" in why.data):
        wait = options.quota_retry_seconds
    return LaunchRefused(
        attempt_id=intent.attempt_id,
        diagnosis=why,
        retry=retry,
        at=clock.now(),
        retry_after_seconds=wait,
    )


_WEBHOOK = re.compile(r'admission webhook "([^"]+)"')
_SILENT_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')
_MISSING = re.compile(r'error looking up service account|no PriorityClass with name|namespaces "[^"]+" not found')


def explain_refusal(error: KubeError, provenance: Mapping[str, str] | None = None) -> tuple[Diagnosis, bool]:
    """Why a create was refused, and whether the same bytes may succeed later.

    `provenance`: the pod's, to name the layer that set a bad field; what is launched again after a restart has none.
    """
    text = error.message
    webhook = _WEBHOOK.search(text)
    data: dict[str, Any] = {"status": error.status, "reason": error.reason}
    if webhook and not error.retryable:
        data["webhook"] = webhook.group(1)
        sentence = f"Admission webhook {webhook.group(1)} refused the pod: {text}"
        return diagnosis(Category.ADMISSION_DENIED, sentence, data=data), False
    if is_quota(error):
        return diagnosis(Category.QUOTA, f"The namespace's quota is used up: {text}", data=data), True
    if isinstance(error, BadRequest | TooLarge):
        return _bad_spec(error, data, provenance or {}), False
    if isinstance(error, NotFound) or (isinstance(error, AccessDenied) and _MISSING.search(text)):
        # In a namespace that is seconds old, the default account is still being made.
        young = "/default: serviceaccount" in text
        hint = "Create it, or name another one in template or override."
        return diagnosis(Category.CONFIG, f"The pod refers to something missing: {text}", hint=hint, data=data), young
    if isinstance(error, AccessDenied):
        return _denied(error, data)
    if isinstance(error, PreconditionFailed | Expired) or error.retryable:
        hint = error.hint
        if silent := _SILENT_WEBHOOK.search(text):
            data["webhook"] = silent.group(1)
            hint = f"The same pod is posted again; look at the service behind webhook {silent.group(1)}."
        return diagnosis(Category.API_UNAVAILABLE, text, hint=hint, data=data), True
    return diagnosis(Category.LAUNCH_ERROR, text, hint=error.hint, data=data), False


def _denied(error: AccessDenied, data: dict[str, Any]) -> tuple[Diagnosis, bool]:
    """403: our own rights (they may be given back), or an admission rule (it will say no again)."""
    if "cannot create resource" in error.message:
        hint = 'Grant the executor\'s account "create" on pods in that namespace.'
        sentence = f"execplane may not create pods: {error.message}"
        return diagnosis(Category.API_UNAVAILABLE, sentence, hint=hint, data=data), True
    sentence = f"The cluster refused the pod: {error.message}"
    hint = "Change the pod so that the namespace's policy allows it."
    return diagnosis(Category.ADMISSION_DENIED, sentence, hint=hint, data=data), False


def _bad_spec(error: KubeError, data: dict[str, Any], provenance: Mapping[str, str]) -> Diagnosis:
    causes = error.causes()
    data["fields"] = [field for field, _ in causes if field]
    said = "; ".join(f"{field}: {message}" for field, message in causes) or error.message
    layers = sorted({layer for field in data["fields"] for layer in _set_by(field, provenance)})
    where = f"in: {', '.join(layers)}" if layers else "in the pod template or the task's executor_config"
    return diagnosis(
        Category.LAUNCH_ERROR,
        f"The API server does not accept the pod: {said}",
        hint=f"Mend the field {where}.",
        data=data,
    )


def _set_by(field: str, provenance: Mapping[str, str]) -> set[str]:
    """The layers of a field as the API server names it: of all that lies below it, else of what it lies below."""

    def within(path: str, whole: str) -> bool:
        return path == whole or path.startswith((f"{whole}.", f"{whole}["))

    below = {layer for path, layer in provenance.items() if within(path, field)}
    return below or {layer for path, layer in provenance.items() if within(field, path)}
