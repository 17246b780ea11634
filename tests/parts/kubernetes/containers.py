"""containerd, its network and its images: what the kubelet runs pods with.

All of it lives in the supervisor's namespaces, where /run, /var/lib and /var/log are ours: containerd, CNI and
kubelet write to fixed paths below them that no setting moves.
"""

from __future__ import annotations

import json
import signal
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts import debian
from tests.parts.eventually import eventually
from tests.parts.kubernetes.control_plane import POD_NETWORK
from tests.parts.supervisor import SupervisedError, Supervisor

BRIDGE = "cni0"
BRIDGE_MAC = "02:ec:00:00:00:01"
BRIDGE_ADDRESS = "10.88.0.1"
SANDBOX_IMAGE = "docker.io/library/execplane-sandbox:test"
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "iproute2": "ip",
    "conntrack": "conntrack",
}

CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  # Containers may not be able to lower their score below ours, and then fail to start.
  restrict_oom_score_adj = true
  disable_apparmor = true
  # A pod's network namespace would otherwise be a file in the host's /run.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{folder}/runc"
      SystemdCgroup = false
"""


@dataclass(frozen=True, kw_only=True)
class Containers:
    """A container runtime in a folder of its own."""

    supervisor: Supervisor

    @property
    def folder(self) -> Path:
        return self.supervisor.folder / "containerd"

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    def prepare(self) -> None:
        """Make the folders and the bridge that are there before any other server starts."""
        self._own_folders()
        self._bridge()

    def start(self) -> None:
        """Start containerd; it answers afterwards."""
        self.folder.mkdir()
        self._network()
        config = self.folder / "config.toml"
        config.write_text(CONFIG.format(folder=self.folder, sandbox_image=SANDBOX_IMAGE))
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        command = [str(debian.program("containerd")), "--config", str(config)]
        self.supervisor.start("containerd", command, environment=path, stop_signal=signal.SIGKILL)
        eventually(
            self._answers,
            30,
            on_failure=lambda: self.supervisor.log_tail("containerd"),
            ignore=(SupervisedError,),
        )

    def load_image(self, archive: Path, name: str) -> None:
        """Import a docker archive and give its image that name (short names as `docker run` takes them)."""
        self._ctr("images", "import", archive)
        self.tag(_name_in(archive), name)

    def tag(self, name: str, new_name: str) -> None:
        """Give an image that is there a second name."""
        self._ctr("images", "tag", "--force", _full_name(name), _full_name(new_name))

    def kill(self, container: str, number: signal.Signals) -> None:
        """Send a signal to a container's process 1, from outside of it."""
        self._ctr("tasks", "kill", "--signal", number.name, container)

    def kill_all(self) -> None:
        """SIGKILL to everything that runs, sandboxes too."""
        for container in self._ctr("tasks", "list", "--quiet").split():
            with suppress(SupervisedError):  # it ended by itself meanwhile
                self.kill(container, signal.SIGKILL)

    def _ctr(self, *arguments: str | Path) -> str:
        program = str(debian.program("ctr"))
        command = [program, "--address", self.socket, "--namespace", "k8s.io", *arguments]
        return self.supervisor.call(*command, timeout_seconds=120)

    def _answers(self) -> bool:
        self._ctr("version")
        return True

    def _own_folders(self) -> None:
        call = self.supervisor.call
        call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        for place in ("/var/lib", "/var/log"):
            own = self.supervisor.folder / "own" / place.strip("/")
            own.mkdir(parents=True)
            call("mount", "--bind", own, place)

    def _bridge(self) -> None:
        """Ours before CNI's first pod, so that DNS can listen on its address."""
        ip = str(debian.program("ip"))
        call = self.supervisor.call
        call(ip, "link", "set", "lo", "up")
        # With a MAC of its own: else it is its ports' lowest, changes as pods come and go, and those that knew the old
        # one lose the network for as long as their neighbour table remembers it.
        call(ip, "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge")
        call(ip, "address", "add", f"{BRIDGE_ADDRESS}/{POD_NETWORK.partition('/')[2]}", "dev", BRIDGE)
        call(ip, "link", "set", BRIDGE, "up")
        # These settings belong to the network namespace, not to the host.
        call("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _network(self) -> None:
        bridge = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "addresses"),
                "ranges": [[{"subnet": POD_NETWORK, "gateway": BRIDGE_ADDRESS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        configuration = {"cniVersion": "1.0.0", "name": "execplane-test", "plugins": [bridge, ports]}
        (self.folder / "cni").mkdir()
        (self.folder / "cni" / "10-execplane.conflist").write_text(json.dumps(configuration))


def _name_in(archive: Path) -> str:
    """The first name that a docker archive gives its image."""
    with tarfile.open(archive, "r:") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        return str(json.load(manifest)[0]["RepoTags"][0])


def _full_name(name: str) -> str:
    """containerd knows images by full names only."""
    if "/" in name and ("." in name.split("/")[0] or name.startswith("localhost/")):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
