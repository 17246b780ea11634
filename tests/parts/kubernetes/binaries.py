"""The programs of the test cluster, built from source by Go: only the Go module proxy is needed."""

from __future__ import annotations

from pathlib import Path

from tests.parts import golang
from tests.parts.cache import part

KUBERNETES = "v1.34.4"
COREDNS = "github.com/coredns/coredns@v1.12.4"
KWOK = "sigs.k8s.io/kwok/cmd/kwok@v0.8.0"

SOURCES = Path(__file__).parent


def cluster() -> Path:
    """etcd, all of Kubernetes and kubectl in one program; its first argument says which."""
    stamp = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor}
    stamps = [f"-X {stamp}.{name}={value}" for name, value in values.items()]
    flags = [*golang.BUILD_FLAGS, "-ldflags", " ".join(["-s -w", *stamps])]
    sources = [SOURCES / name for name in ("main.go", "go.mod", "go.sum")]

    def build(target: Path) -> None:
        golang.run("build", *flags, "-o", str(target), ".", folder=SOURCES)

    return part("cluster", [*sources, golang.version(), *flags], build)


def coredns() -> Path:
    """The DNS server of the cluster."""
    return golang.installed("coredns", COREDNS)


def kwok() -> Path:
    """The controller that plays kubelet for any number of nodes that do not exist."""
    return golang.installed("kwok", KWOK)
