"""`python -m tests.parts build [NAME…]` and `python -m tests.parts up [postgres] [kubernetes]`.

`build` fills the part cache, so that a first test run does not seem to hang. `up` keeps servers running for
repeated test runs: it prints the variables that make tests use them, until Ctrl-C or until its stdin closes.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from tests.parts import debian, golang
from tests.parts.cache import PartUnavailableError
from tests.parts.chromium import chromium
from tests.parts.kubernetes import binaries, containers, images
from tests.parts.kubernetes.cluster import (
    HOST_ADDRESS_VARIABLE,
    IMAGE_LOADER_VARIABLE,
    KUBECONFIG_VARIABLE,
    Cluster,
)
from tests.parts.postgres import URL_VARIABLE, Postgres, require_programs

PARTS: dict[str, Callable[[], object]] = {
    "packages": lambda: debian.require({**containers.PACKAGES, **images.TOOLS}),
    "postgres": require_programs,
    "chromium": chromium,
    "go": golang.toolchain,
    "base-image": images.base_image,
    "coredns": binaries.coredns,
    "kwok": binaries.kwok,
    "cluster": binaries.cluster,
    "worker-image": images.worker_image,
}


def build(names: Sequence[str]) -> None:
    """Build the named parts, or all, each from the cache when it is there."""
    for name in names or PARTS:
        PARTS[name]()


def up(names: Sequence[str]) -> None:
    """Start the named servers, or all, and wait."""
    with ExitStack() as stack:
        lines: list[str] = []
        if "postgres" in names or not names:
            lines.append(_export(URL_VARIABLE, stack.enter_context(Postgres()).url("postgres")))
        if "kubernetes" in names or not names:
            lines += _cluster_lines(stack.enter_context(Cluster()))
        print("\n".join(lines), flush=True)
        # A service manager's SIGTERM is a Ctrl-C to us: both leave through the stack.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            while sys.stdin.readline():
                pass
        except KeyboardInterrupt:
            return


def _cluster_lines(cluster: Cluster) -> list[str]:
    return [
        _export(KUBECONFIG_VARIABLE, str(cluster.kubeconfig)),
        _export(HOST_ADDRESS_VARIABLE, cluster.host_address),
        _export(IMAGE_LOADER_VARIABLE, cluster.image_loader),
    ]


def _export(name: str, value: str) -> str:
    return f"export {name}='{value}'"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parts", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    builder = verbs.add_parser("build", help="build parts into the cache")
    builder.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARTS))
    starter = verbs.add_parser("up", help="start servers and print what to export")
    starter.add_argument("names", nargs="*", metavar="NAME", help="postgres, kubernetes")
    options = parser.parse_args()
    known = PARTS if options.verb == "build" else ("postgres", "kubernetes")
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        (build if options.verb == "build" else up)(options.names)
    except PartUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
