"""How policies compare paths, images and quantities: by what they mean, so that no way of writing gets around them."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

from execplane.pods.quantities import amount

_DOCKER_HUB = "docker.io"


def has_prefix(path: str, prefix: str) -> bool:
    """Whether a path is `prefix` or lies below it: /data/x below /data, but neither /database nor /data/../etc."""
    path, prefix = (posixpath.normpath(f"/{one.lstrip('/')}") for one in (path, prefix))
    return path == prefix or path.startswith(f"{prefix.rstrip('/')}/")


def full_image(image: str) -> str:
    """The image with its registry: "python:3" is docker.io/library/python:3."""
    first, _, rest = image.partition("/")
    if rest and is_registry(first):
        return image
    return f"{_DOCKER_HUB}/{image}" if rest else f"{_DOCKER_HUB}/library/{image}"


def is_registry(name: str) -> bool:
    """Whether the first part of an image's name is a registry, as container runtimes tell it from a folder: those
    have no capitals."""
    return "." in name or ":" in name or name == "localhost" or name != name.lower()


def image_allowed(image: str, registries: Sequence[str]) -> bool:
    """Whether one of them is the image's registry, or the beginning of its name, whole parts of it only."""
    full = full_image(image)
    return any(_begins(full, registry.rstrip("/")) for registry in registries)


def _begins(full: str, registry: str) -> bool:
    if not full.startswith(registry):
        return False
    rest = full[len(registry) :]
    # After a registry alone, ":" begins a port, which makes it another registry.
    return rest.startswith("/") or ("/" in registry and (not rest or rest[0] in ":@"))


def is_stated(quantity: Any) -> bool:
    """Whether it says anything: to Kubernetes, a limit of 0 is none."""
    return quantity is not None and amount(quantity) != 0


def too_much(quantity: Any, most: str) -> bool:
    """Whether it is above `most`; what is no quantity cannot be shown to be below."""
    asked, limit = amount(quantity), amount(most)
    return asked is None or limit is None or asked > limit
