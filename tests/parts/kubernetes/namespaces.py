"""The wire between this machine and the namespaces that a cluster lives in.

A cluster has a network of its own, so its bridge, its iptables rules and its ports meet nobody else's, and end
with it. One veth pair joins it to the machine: tests reach the API server through it, pods reach servers on the
machine through it.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.parts import debian
from tests.parts.cache import PartUnavailableError
from tests.parts.supervisor import Supervisor

# What the kubelet sets for the whole kernel when it starts; put back at the end.
KERNEL_SETTINGS = [
    "/proc/sys/kernel/keys/root_maxbytes",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
]


@dataclass(frozen=True, kw_only=True)
class Wire:
    """The addresses of both ends."""

    host_address: str
    cluster_address: str


def require_root() -> None:
    """Containers need root; say what to do instead."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        raise PartUnavailableError("running pods needs root on Linux; or set EXECPLANE_TEST_KUBECONFIG")


def connect(supervisor: Supervisor) -> Wire:
    """Join the supervisor's network namespace to this machine's."""
    run = f"{random.SystemRandom().randrange(16**8):08x}"
    prefix = _free_prefix()
    wire = Wire(host_address=f"{prefix}.1", cluster_address=f"{prefix}.2")
    ip, outer = str(debian.program("ip")), f"ep-{run}"
    _run(ip, "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", str(supervisor.pid))
    _run(ip, "address", "add", f"{wire.host_address}/24", "dev", outer)
    _run(ip, "link", "set", outer, "up")
    supervisor.call(ip, "address", "add", f"{wire.cluster_address}/24", "dev", "eth0")
    supervisor.call(ip, "link", "set", "eth0", "up")
    supervisor.call(ip, "route", "add", "default", "via", wire.host_address)
    return wire


def prepare_cgroups(name: str) -> None:
    """Make the cgroup that all pods will be below, in each hierarchy of version 1 or in the one of version 2."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        (root / name).mkdir()
        return
    for hierarchy in root.iterdir():
        if hierarchy.is_dir() and not hierarchy.is_symlink() and (hierarchy / "cgroup.procs").exists():
            (hierarchy / name).mkdir()


def load_kernel_modules() -> None:
    """Most kernels have these as modules; where they are built in there is nothing to load."""
    modprobe = debian.program("modprobe")
    if modprobe is not None:
        command = [str(modprobe), "--all", "--quiet", "overlay", "br_netfilter", "veth"]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def _free_prefix() -> str:
    """The first three numbers of a /24 network that this machine has no address or route in."""
    ip = str(debian.program("ip"))
    known = _run(ip, "-4", "address", "show") + _run(ip, "-4", "route", "show", "table", "all")
    candidates = [f"10.89.{number}" for number in range(1, 255)]
    return random.SystemRandom().choice([prefix for prefix in candidates if f"{prefix}." not in known])


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
