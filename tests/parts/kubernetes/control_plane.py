"""etcd, API server, controller manager and scheduler: a whole control plane, up in a few seconds."""

from __future__ import annotations

import json
import signal
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.parts.eventually import eventually
from tests.parts.kubernetes.certificates import Credentials
from tests.parts.supervisor import Supervisor

ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVICE_NETWORK = "10.96.0.0/16"
POD_NETWORK = "10.88.0.0/16"

# Later tests count creates and deletes of pods in here: the witness that execplane did not write itself.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "verbs": ["create", "delete", "deletecollection"],
            "resources": [{"group": "", "resources": ["pods", "pods/binding"]}],
        },
        {"level": "None"},
    ],
}


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """What it takes to start the four servers; `address` is where everybody reaches them."""

    supervisor: Supervisor
    program: Path
    credentials: Credentials
    address: str
    api_port: int
    etcd_ports: tuple[int, int]
    inner_ports: tuple[int, int]
    kubeconfig: Path

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def audit_log(self) -> Path:
        return self.supervisor.folder / "audit.log"

    def start(self) -> None:
        """Start all four; the API server is ready afterwards."""
        self._start_etcd()
        self.start_apiserver()
        self._start_clients()

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready."""
        self.supervisor.start("apiserver", [str(self.program), "apiserver", *self._apiserver_flags()])
        eventually(self._ready, 60, on_failure=self._logs)

    def stop_apiserver(self, *, graceful: bool = False) -> None:
        """Stop it; gracefully it drains its watches for seconds, as in an upgrade, else it dies as in a crash."""
        if not graceful:
            self.supervisor.signal("apiserver", signal.SIGKILL)
        self.supervisor.stop("apiserver", grace_seconds=90)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self.etcd_ports)
        flags = {
            "data-dir": str(self.supervisor.folder / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "warn",
        }
        command = [str(self.program), "etcd", "--unsafe-no-fsync", *_as_options(flags)]
        self.supervisor.start("etcd", command, stop_signal=signal.SIGKILL)

    def _apiserver_flags(self) -> list[str]:
        policy = self.supervisor.folder / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        files = self.credentials
        return _as_options(
            {
                "etcd-servers": f"http://127.0.0.1:{self.etcd_ports[0]}",
                "advertise-address": self.address,
                "bind-address": self.address,
                "secure-port": str(self.api_port),
                "tls-cert-file": str(files.server_certificate),
                "tls-private-key-file": str(files.server_key),
                "token-auth-file": str(files.tokens),
                "authorization-mode": "RBAC",
                "service-account-issuer": ISSUER,
                "service-account-signing-key-file": str(files.signing_key),
                "service-account-key-file": str(files.signing_key),
                "service-cluster-ip-range": SERVICE_NETWORK,
                # Leases instead of the endpoint of a server that was killed and is not coming back.
                "endpoint-reconciler-type": "lease",
                "kubelet-preferred-address-types": "InternalIP",
                "allow-privileged": "true",
                "audit-policy-file": str(policy),
                "audit-log-path": str(self.audit_log),
                "audit-log-maxsize": "10000",
                # A test's load is a burst from one client: fairness would only slow it down.
                "max-requests-inflight": "2000",
                "max-mutating-requests-inflight": "1000",
                "profiling": "false",
            }
        )

    def _start_clients(self) -> None:
        common = {
            "kubeconfig": str(self.kubeconfig),
            "leader-elect": "false",
            "kube-api-qps": "500",
            "kube-api-burst": "1000",
            "bind-address": "127.0.0.1",
        }
        manager = {
            **common,
            "secure-port": str(self.inner_ports[0]),
            "root-ca-file": str(self.credentials.authority),
            "service-account-private-key-file": str(self.credentials.signing_key),
            # The first bind of a claim to a volume misses once: try again soon.
            "pvclaimbinder-sync-period": "1s",
        }
        scheduler = {**common, "secure-port": str(self.inner_ports[1])}
        for name, flags in (("controller-manager", manager), ("scheduler", scheduler)):
            command = [str(self.program), name, *_as_options(flags)]
            self.supervisor.start(name, command, stop_signal=signal.SIGKILL)

    def _ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.credentials.authority))
        headers = {"Authorization": f"Bearer {self.credentials.admin_token}"}
        request = urllib.request.Request(f"{self.server}/readyz", headers=headers)
        # No proxy of the environment may come between us and our own server.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _logs(self) -> str:
        return "\n".join(self.supervisor.log_tail(name) for name in ("etcd", "apiserver"))


def _as_options(flags: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
