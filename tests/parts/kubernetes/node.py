"""One real node: kubelet, kube-proxy and the cluster's DNS, beside containerd."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.parts.kubernetes.containers import BRIDGE_ADDRESS, Containers
from tests.parts.kubernetes.control_plane import POD_NETWORK
from tests.parts.supervisor import Supervisor

FIRST_NODE = "node-1"
DOMAIN = "cluster.local"
PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

CORE_FILE = """\
.:53 {{
    bind {address}
    errors
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """The servers of one node; `address` is where the API server reaches its kubelet."""

    supervisor: Supervisor
    program: Path
    coredns: Path
    containers: Containers
    kubeconfig: Path
    address: str
    ports: tuple[int, int, int]
    name: str = FIRST_NODE

    @property
    def cgroup(self) -> str:
        """The cgroup that all pods are below, of this run only."""
        return self.supervisor.folder.name

    def start(self) -> None:
        """Start all three; the node becomes ready some seconds later."""
        self._start_kubelet()
        self._start_proxy()
        self._start_dns()

    def restart_kubelet(self, **changes: object) -> None:
        """Start it anew with these fields of its configuration changed; pods run on."""
        self.supervisor.stop("kubelet")
        self._start_kubelet(changes)

    def successor(self) -> Node:
        """Another name for what this machine is."""
        number = int(self.name.removeprefix("node-"))
        return replace(self, name=f"node-{number + 1}")

    def lose_power(self) -> None:
        """Kubelet and all containers end at once, and nobody is told."""
        for server in ("kubelet", "kube-proxy"):
            self.supervisor.stop(server)
        self.containers.kill_all()

    def boot(self) -> None:
        """Kubelet and proxy of a machine that has just joined; it knows nothing of pods of another name."""
        self._start_kubelet()
        self._start_proxy()

    def _start_kubelet(self, changes: Mapping[str, object] | None = None) -> None:
        folder = self.supervisor.folder
        # The host's resolver may point at a local daemon that no pod can reach; pods get the cluster's DNS.
        resolver = folder / "resolv.conf"
        resolver.write_text(f"nameserver {BRIDGE_ADDRESS}\n")
        config = folder / "kubelet.json"
        config.write_text(json.dumps({**self._kubelet_config(resolver), **(changes or {})}))
        flags = [
            f"--config={config}",
            f"--kubeconfig={self.kubeconfig}",
            f"--root-dir={folder / 'kubelet'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
        ]
        self._start("kubelet", [self.program, "kubelet", *flags])

    def _kubelet_config(self, resolver: Path) -> dict[str, object]:
        folder = self.supervisor.folder
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "port": self.ports[0],
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self.containers.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [BRIDGE_ADDRESS],
            "clusterDomain": DOMAIN,
            "resolvConf": str(resolver),
            "podLogsDir": "/var/log/pods",
            "volumePluginDir": str(folder / "volume-plugins"),
            "staticPodPath": "",
            "serializeImagePulls": False,
            # Nothing is evicted or collected because the developer's disk is nearly full.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "5s",
            "maxPods": 200,
        }

    def _start_proxy(self) -> None:
        config = self.supervisor.folder / "kube-proxy.json"
        settings = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": POD_NETWORK,
            "hostnameOverride": self.name,
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "healthzBindAddress": f"127.0.0.1:{self.ports[1]}",
            "metricsBindAddress": f"127.0.0.1:{self.ports[2]}",
            # Zero means: leave the host's connection tracking as it is.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            # Zero would mean the default, a second.
            "iptables": {"minSyncPeriod": "100ms"},
        }
        config.write_text(json.dumps(settings))
        self._start("kube-proxy", [self.program, "proxy", f"--config={config}"])

    def _start_dns(self) -> None:
        core_file = self.supervisor.folder / "Corefile"
        core_file.write_text(CORE_FILE.format(address=BRIDGE_ADDRESS, domain=DOMAIN, kubeconfig=self.kubeconfig))
        self._start("coredns", [self.coredns, "-conf", core_file])

    def _start(self, name: str, command: list[str | Path]) -> None:
        self.supervisor.start(name, command, environment=PATH, stop_signal=signal.SIGKILL)
