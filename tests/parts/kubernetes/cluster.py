"""One Kubernetes cluster for a test run, real from etcd to the containers of its pods.

`EXECPLANE_TEST_KUBECONFIG` uses an existing cluster instead (kind, k3d); README.md says what that one needs.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.parts import debian
from tests.parts.cache import PartUnavailableError
from tests.parts.eventually import eventually, scaled
from tests.parts.kubernetes import binaries, certificates, containers, images, kwok, namespaces
from tests.parts.kubernetes.containers import Containers
from tests.parts.kubernetes.control_plane import ISSUER, ControlPlane
from tests.parts.kubernetes.kwok import Kwok
from tests.parts.kubernetes.node import Node
from tests.parts.ports import free_ports
from tests.parts.supervisor import Supervisor

KUBECONFIG_VARIABLE = "EXECPLANE_TEST_KUBECONFIG"
HOST_ADDRESS_VARIABLE = "EXECPLANE_TEST_HOST_ADDRESS"
IMAGE_LOADER_VARIABLE = "EXECPLANE_TEST_IMAGE_LOADER"
OWN_ONLY = f"only a cluster that the tests started themselves can do this: unset {KUBECONFIG_VARIABLE}"


class Mode(Enum):
    """How much of a cluster: with a real node (root only), or the control plane and fake nodes alone."""

    FULL = "full"
    CONTROL_PLANE = "control-plane"


class KubectlError(RuntimeError):
    """kubectl said no; the message is what it wrote."""


class Cluster:
    """A cluster; use it as a context manager, or call `start` and `stop`."""

    issuer = ISSUER
    base_image = images.BASE_NAME
    worker_image = images.WORKER_NAME

    def __init__(self, mode: Mode = Mode.FULL) -> None:
        self.mode = mode
        existing = os.environ.get(KUBECONFIG_VARIABLE)
        self._existing = Path(existing) if existing else None
        self._supervisor: Supervisor | None = None
        self._control_plane: ControlPlane | None = None
        self._containers: Containers | None = None
        self._node: Node | None = None
        self._host_address = "127.0.0.1"
        self._kwok_nodes = 0
        self._kubectl = ""

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; afterwards the API server is ready, and so is the node with its images."""
        if self._existing is not None:
            self._kubectl = shutil.which("kubectl") or str(binaries.cluster())
            self.load_image(images.base_image(), images.BASE_NAME)
            return
        full = self.mode is Mode.FULL
        if full:
            namespaces.require_root()
            debian.require(containers.PACKAGES)
        program = binaries.cluster()
        base = images.base_image() if full else None
        coredns = binaries.coredns() if full else None
        self._kubectl = str(program)
        try:
            self._start_control_plane(program)
            if base is not None and coredns is not None:
                self._start_node(program, coredns, base)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every server, pod and mount of it; an existing cluster stays as it is."""
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None

    @property
    def is_own(self) -> bool:
        """Whether the tests started it, and so may hurt it."""
        return self._existing is None

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self._existing or self._folder / "admin.kubeconfig"

    @property
    def server(self) -> str:
        """The API server's URL."""
        if self._existing is not None:
            return self.kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
        return self._own.server

    @property
    def host_address(self) -> str:
        """The address of this machine for pods; servers that pods shall reach listen there or on 0.0.0.0."""
        if self._existing is None:
            return self._host_address
        address = os.environ.get(HOST_ADDRESS_VARIABLE)
        if not address:
            raise PartUnavailableError(f"set {HOST_ADDRESS_VARIABLE}: where pods reach this machine")
        return address

    @property
    def audit_log(self) -> Path:
        """The API server's record of creates and deletes of pods: JSON lines, level Metadata."""
        return self._own.audit_log

    @property
    def supervisor(self) -> Supervisor:
        """The hold on its servers (`kubelet`, `apiserver`, `scheduler` …), for tests that hurt them."""
        if self._supervisor is None:
            raise PartUnavailableError(OWN_ONLY)
        return self._supervisor

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Run kubectl as administrator and return its output; raises `KubectlError` when it fails."""
        done = subprocess.run(
            self.kubectl_command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=scaled(timeout_seconds),
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def kubectl_command(self, *arguments: str) -> list[str]:
        """The same as a command, for what is to run on beside the test."""
        command = [self._kubectl, *([] if self._kubectl.endswith("/kubectl") else ["kubectl"])]
        return [*command, f"--kubeconfig={self.kubeconfig}", *arguments]

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A POST as it goes over the wire: the status, and the answer, a refusal's too."""
        config = json.loads(self.kubeconfig.read_text())
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        request = urllib.request.Request(
            f"{self.server}{path}",
            data=json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {config['users'][0]['user']['token']}",
                "Content-Type": "application/json",
            },
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority)),
        )
        try:
            with opener.open(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def create(self, *objects: dict[str, Any]) -> None:
        """Create objects given as dicts."""
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get ARGUMENTS…` as a dict."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found

    def create_namespace(self, name: str) -> None:
        """Create a namespace that is ready for pods: its default service account exists."""
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = ("serviceaccount", "default", f"--namespace={name}")
        eventually(
            lambda: self.get(*account), 20, on_failure=self._manager_log, ignore=(KubectlError,), interval_seconds=0.1
        )

    @property
    def node_name(self) -> str:
        """The real node's."""
        if self._node is None:
            raise PartUnavailableError(OWN_ONLY)
        return self._node.name

    def restart_kubelet(self, **changes: object) -> None:
        """Start the real node's kubelet anew, with these fields of its configuration changed; pods run on."""
        if self._node is None:
            raise PartUnavailableError(OWN_ONLY)
        self._node.restart_kubelet(**changes)

    def replace_node(self) -> None:
        """The real node vanishes with all that runs on it, its object too, and a new one joins under another name.

        Its pods' objects stay until the cluster's garbage collector takes them for orphans: about a minute.
        """
        if self._node is None:
            raise PartUnavailableError(OWN_ONLY)
        lost, self._node = self._node, self._node.successor()
        lost.lose_power()
        self.kubectl("delete", "node", lost.name)
        self._node.boot()
        self._node_is_ready(self._node.name)

    def kill_container(self, container: str) -> None:
        """SIGKILL to a container on the real node, by its id, as the kernel or an administrator there may send it."""
        if self._containers is None:
            raise PartUnavailableError(OWN_ONLY)
        self._containers.kill(container, signal.SIGKILL)

    def stop_apiserver(self, *, graceful: bool = False) -> None:
        """Take the API server away, by SIGKILL unless `graceful`; pods run on."""
        self._own.stop_apiserver(graceful=graceful)

    def start_apiserver(self) -> None:
        """Bring it back, at the same address with the same credentials."""
        self._own.start_apiserver()

    def restart_apiserver(self, *, graceful: bool = False) -> None:
        """Stop and start the API server; every watch breaks."""
        self.stop_apiserver(graceful=graceful)
        self.start_apiserver()

    def load_image(self, archive: Path, name: str) -> None:
        """Make the image of a docker archive available to pods under that name."""
        if self._containers is not None:
            self._containers.load_image(archive, name)
            return
        loader = os.environ.get(IMAGE_LOADER_VARIABLE)
        if not loader:
            raise PartUnavailableError(f"set {IMAGE_LOADER_VARIABLE}, e.g. 'kind load image-archive {{archive}}'")
        subprocess.run([word.format(archive=archive) for word in loader.split()], check=True)

    @property
    def image_loader(self) -> str:
        """A command that loads an archive into this cluster, for those who use it as an existing one."""
        assert self._containers is not None
        return f"{debian.program('ctr')} -a {self._containers.socket} -n k8s.io images import {{archive}}"

    def load_worker_image(self) -> str:
        """Build the project's image if need be and load it; returns its name for pods."""
        self.load_image(images.worker_image(), images.WORKER_NAME)
        return images.WORKER_NAME

    def add_kwok_nodes(self, count: int) -> None:
        """Add fake nodes and wait until they are ready; see `kwok.py` for what their pods do."""
        if self._kwok_nodes == 0:
            Kwok(supervisor=self.supervisor, program=binaries.kwok(), kubeconfig=self.kubeconfig).start()
        first = self._kwok_nodes
        self._kwok_nodes += count
        self.create(*(kwok.node(number) for number in range(first, self._kwok_nodes)))
        eventually(
            lambda: self._ready_nodes("--selector=type=kwok") >= self._kwok_nodes,
            60,
            on_failure=lambda: self.supervisor.log_tail("kwok"),
            interval_seconds=0.2,
        )

    def dump(self, namespace: str) -> str:
        """What a failing test needs to show: the namespace's pods, their last lines, and its events."""
        pods = self._tell("get", "pods", "--output=name", f"--namespace={namespace}").split()
        questions: list[tuple[str, ...]] = [("get", "pods", "--output=wide"), ("describe", "pods")]
        questions += [("logs", pod, "--all-containers", "--prefix", "--tail=30") for pod in pods]
        questions += [("get", "events", "--sort-by=.metadata.creationTimestamp")]
        answers = (
            f"$ kubectl {' '.join(question)}\n{self._tell(*question, f'--namespace={namespace}')}"
            for question in questions
        )
        return "\n".join(answers)

    def _tell(self, *question: str) -> str:
        try:
            return self.kubectl(*question)
        except (KubectlError, subprocess.TimeoutExpired) as error:
            return str(error)

    def _manager_log(self) -> str:
        return self._supervisor.log_tail("controller-manager") if self._supervisor else ""

    @property
    def _folder(self) -> Path:
        return self.supervisor.folder

    @property
    def _own(self) -> ControlPlane:
        if self._control_plane is None:
            raise PartUnavailableError(OWN_ONLY)
        return self._control_plane

    def _start_control_plane(self, program: Path) -> None:
        full = self.mode is Mode.FULL
        supervisor = self._supervisor = Supervisor("kubernetes", namespaces=full)
        address = "127.0.0.1"
        if full:
            wire = namespaces.connect(supervisor)
            address, self._host_address = wire.cluster_address, wire.host_address
            self._containers = Containers(supervisor=supervisor)
            self._containers.prepare()
        credentials = certificates.create(supervisor.folder / "credentials", [address])
        ports = free_ports(5)
        control_plane = self._control_plane = ControlPlane(
            supervisor=supervisor,
            program=program,
            credentials=credentials,
            address=address,
            api_port=ports[0],
            etcd_ports=(ports[1], ports[2]),
            inner_ports=(ports[3], ports[4]),
            kubeconfig=supervisor.folder / "admin.kubeconfig",
        )
        credentials.write_kubeconfig(control_plane.kubeconfig, control_plane.server)
        control_plane.start()

    def _start_node(self, program: Path, coredns: Path, base: Path) -> None:
        assert self._containers is not None
        namespaces.load_kernel_modules()
        name = self.supervisor.folder.name
        self.supervisor.also_remove(cgroups=[name], kernel_settings=namespaces.KERNEL_SETTINGS)
        namespaces.prepare_cgroups(name)
        self._containers.start()
        self._containers.load_image(base, images.BASE_NAME)
        self._containers.tag(images.BASE_NAME, containers.SANDBOX_IMAGE)
        ports = free_ports(3)
        self._node = Node(
            supervisor=self.supervisor,
            program=program,
            coredns=coredns,
            containers=self._containers,
            kubeconfig=self.kubeconfig,
            address=self._own.address,
            ports=(ports[0], ports[1], ports[2]),
        )
        self._node.start()
        self._node_is_ready(self._node.name)

    def _node_is_ready(self, name: str) -> None:
        eventually(
            lambda: self._ready_nodes(name) == 1,
            60,
            on_failure=lambda: "\n".join(map(self.supervisor.log_tail, ("kubelet", "containerd"))),
            interval_seconds=0.2,
            ignore=(KubectlError,),
        )

    def _ready_nodes(self, *which: str) -> int:
        found = self.get("nodes", *which)
        conditions = [
            condition for node in found.get("items", [found]) for condition in node["status"].get("conditions", [])
        ]
        return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
