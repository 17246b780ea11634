"""Why a pod does not run yet: scheduler, images, configuration, init containers, in one category and one sentence."""

from __future__ import annotations

import re

from execplane.contract.categories import Category
from execplane.contract.observations import Diagnosis
from execplane.pods import predicates
from execplane.pods.ends import diagnosis
from execplane.pods.status import ContainerStatus, Pod, Status, Waiting


def diagnose_wait(pod: Pod, status: Status) -> Diagnosis:
    """Always says something: a wait without a reason is the scheduler's or the node's."""
    if not pod.spec.node_name:
        return _unscheduled(status)
    for found in [*status.init_container_statuses, *status.container_statuses]:
        waiting = found.state.waiting
        if waiting is not None and (said := _container_wait(pod, found, waiting)) is not None:
            return said
    running = [found.name for found in status.init_container_statuses if found.state.running]
    if running:
        sentence = f"Init container {running[-1]} is running on node {pod.spec.node_name}."
    else:
        sentence = f"Node {pod.spec.node_name} is preparing the pod."
    return diagnosis(Category.STARTING, sentence)


def _unscheduled(status: Status) -> Diagnosis:
    scheduled = next((found for found in status.conditions if found.type == "PodScheduled"), None)
    if scheduled is not None and scheduled.reason == "Unschedulable":
        return _no_node(scheduled.message)
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        return diagnosis(Category.SCHEDULING, f"Scheduling is gated: {scheduled.message}")
    if scheduled is not None and scheduled.reason:
        return diagnosis(Category.SCHEDULING, f"{scheduled.reason}: {scheduled.message}")
    return diagnosis(Category.SCHEDULING, "The scheduler has not looked at the pod yet.")


def _no_node(message: str) -> Diagnosis:
    """With how many nodes each rule left out, by its code."""
    said = predicates.parse(message)
    counts = {str(one.code): one.nodes for one in said.by_nearness()}
    return diagnosis(Category.UNSCHEDULABLE, predicates.sentence(said), data={"predicates": counts, "said": message})


_ABSENT = re.compile(r"not found|couldn't find key|non-existent|no such", re.IGNORECASE)
_MISSING = re.compile(r"not ?found|manifest unknown|does not exist|no such image", re.IGNORECASE)
_UNAUTHORISED = re.compile(r"unauthori[sz]ed|authentication|authorization|denied|forbidden|\b40[13]\b", re.IGNORECASE)
_LIMITED = re.compile(r"toomanyrequests|too many requests|\b429\b|pull QPS exceeded|rate limit", re.IGNORECASE)


def _container_wait(pod: Pod, found: ContainerStatus, waiting: Waiting) -> Diagnosis | None:
    """None for waits that are a start's ordinary course."""
    name, said = found.name, waiting.message.strip()
    match waiting.reason:
        case "ContainerCreating" | "PodInitializing" | "":
            return None
        case "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "SignatureValidationFailed":
            return _image(pod, name, waiting)
        case "ErrImageNeverPull":
            return diagnosis(
                Category.IMAGE_MISSING,
                f"Image {_image_of(pod, name)} is not on node {pod.spec.node_name} and may not be pulled.",
                hint="imagePullPolicy is Never: load the image onto the node, or allow the pull.",
                data={"container": name, "reason": waiting.reason},
            )
        case "InvalidImageName" | "ImageInspectError":
            sentence = f"Image {_image_of(pod, name)!r} of container {name} cannot be used: {said}"
            data = {"container": name, "reason": waiting.reason}
            return diagnosis(Category.IMAGE_INVALID, sentence, data=data)
        case "CreateContainerConfigError" if not _ABSENT.search(said):
            sentence = f"Container {name} cannot be started as it is written: {said}"
            return diagnosis(Category.LAUNCH_ERROR, sentence, data={"container": name, "reason": waiting.reason})
        case "CreateContainerConfigError":
            return diagnosis(
                Category.CONFIG,
                f"Container {name} refers to something that is not there: {said}",
                hint="Create it in the pod's namespace, or mend the reference in template or override.",
                data={"container": name, "reason": waiting.reason},
            )
        case "CrashLoopBackOff":
            sentence = f"Container {name} keeps failing: {said}"
            return diagnosis(Category.SIDECAR, sentence, data={"container": name})
        case reason:
            sentence = f"Container {name} cannot be started ({reason}): {said}"
            return diagnosis(Category.LAUNCH_ERROR, sentence, data={"container": name, "reason": reason})


def _image(pod: Pod, name: str, waiting: Waiting) -> Diagnosis:
    image, said = _image_of(pod, name), waiting.message.strip()
    data = {"container": name, "image": image, "reason": waiting.reason}
    # Registries say "not found or access denied": a limit is told apart first, then a missing login.
    if _LIMITED.search(said):
        sentence = f"Pulling image {image} is rate-limited: {said}"
        return diagnosis(Category.IMAGE_RATE_LIMITED, sentence, data=data)
    if waiting.reason == "SignatureValidationFailed":
        return diagnosis(Category.IMAGE_INVALID, f"The signature of image {image} is not accepted: {said}", data=data)
    if _MISSING.search(said) and not re.search(r"unauthori[sz]ed|authentication", said, re.IGNORECASE):
        return diagnosis(
            Category.IMAGE_MISSING,
            f"Image {image} does not exist: {said}",
            hint="Check its name and tag; a private registry may hide an image behind 'not found'.",
            data=data,
        )
    if _UNAUTHORISED.search(said):
        return diagnosis(
            Category.IMAGE_UNAUTHORISED,
            f"The registry refuses image {image}: {said}",
            hint="Check imagePullSecrets of the pod or its service account.",
            data=data,
        )
    return diagnosis(Category.IMAGE_PULL, f"Image {image} cannot be pulled: {said or waiting.reason}", data=data)


def _image_of(pod: Pod, name: str) -> str:
    containers = [*pod.spec.init_containers, *pod.spec.containers]
    return next((found.image for found in containers if found.name == name), "?")
