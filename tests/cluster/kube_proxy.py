"""A proxy before the API server that does, on command, what networks do: lose an answer, cut, fall silent.

Plain HTTP on our side, one request per connection, so that it can see which request is whose; what it passes on is
the real API server's.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlparse

from tests.parts.kubernetes.cluster import Cluster

Verdict = str
"""pass | lose_answer (the request arrives, the answer does not) | lose_request (neither arrives) | stall (the first
bytes arrive, then nothing more, and nobody says so) | hold (it does not go on before `heal`)."""

_LONGEST_HOLD_SECONDS = 120


class KubeProxy:
    """Forwards to the cluster; `rules` decide about each request by its first line."""

    def __init__(self, cluster: Cluster) -> None:
        config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
        where = config["clusters"][0]["cluster"]
        target = urlparse(where["server"])
        self._target = (str(target.hostname), int(target.port or 443))
        self._context = ssl.create_default_context(cadata=_authority(where))
        self._config = config
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._rules: list[list[object]] = []
        self._healed = threading.Event()
        self.held = 0
        """Requests that wait for `heal` now."""
        self.seen: list[str] = []
        """First lines of all requests."""
        self.rewrite: Callable[[str], str] = lambda line: line
        threading.Thread(target=self._accept, daemon=True).start()

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads through this proxy."""
        host, port = self._listener.getsockname()
        cluster = {"name": "proxy", "cluster": {"server": f"http://{host}:{port}"}}
        context = {**self._config["contexts"][0]["context"], "cluster": "proxy"}
        config = {
            **self._config,
            "clusters": [cluster],
            "contexts": [{"name": "proxy", "context": context}],
            "current-context": "proxy",
        }
        path.write_text(json.dumps(config))
        return path

    def next(self, pattern: str, verdict: Verdict, times: int = 1) -> None:
        """Treat the next requests whose first line matches like this."""
        with self._lock:
            self._rules.append([re.compile(pattern), verdict, times])

    def heal(self) -> None:
        """Forget all rules, and let go on what was held."""
        with self._lock:
            self._rules.clear()
            self._healed.set()
            self._healed = threading.Event()

    def cut(self) -> None:
        """Close every live connection."""
        with self._lock:
            live = list(self._live)
        for connection in live:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def requests(self, pattern: str) -> int:
        """How many requests came whose first line matches."""
        with self._lock:
            return sum(1 for line in self.seen if re.search(pattern, line))

    def close(self) -> None:
        with suppress(OSError):
            # Closing alone would let a waiting accept take one connection more.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._live.add(client)
        try:
            with client, suppress(OSError):
                self._forward(client)
        finally:
            with self._lock:
                self._live.discard(client)

    def _forward(self, client: socket.socket) -> None:
        head, body = _read_request(client)
        if not head:
            return
        first, _, headers = head.partition("\r\n")
        verdict = self._decide(first)
        if verdict == "lose_request":
            return
        if verdict == "hold":
            self._hold()
        kept = [line for line in headers.split("\r\n") if line and not line.lower().startswith("connection:")]
        request = "\r\n".join([self.rewrite(first), *kept, "Connection: close", "", ""]).encode() + body
        with (
            socket.create_connection(self._target) as plain,
            self._context.wrap_socket(plain, server_hostname=self._target[0]) as server,
        ):
            with self._lock:
                self._live.add(plain)
            server.sendall(request)
            with suppress(OSError):
                for count, data in enumerate(iter(lambda: server.recv(1 << 16), b"")):
                    if verdict == "lose_answer":
                        continue
                    if verdict == "stall" and count:
                        # A half-open link: nothing more comes, and nobody says so.
                        client.recv(1)
                        return
                    client.sendall(data)

    def _hold(self) -> None:
        with self._lock:
            self.held += 1
            healed = self._healed
        healed.wait(_LONGEST_HOLD_SECONDS)
        with self._lock:
            self.held -= 1

    def _decide(self, first: str) -> Verdict:
        with self._lock:
            self.seen.append(first)
            for rule in self._rules:
                pattern, verdict, left = rule
                assert isinstance(pattern, re.Pattern)
                assert isinstance(left, int)
                if left > 0 and pattern.search(first):
                    rule[2] = left - 1
                    return str(verdict)
        return "pass"


@contextmanager
def kube_proxy(cluster: Cluster) -> Iterator[KubeProxy]:
    proxy = KubeProxy(cluster)
    try:
        yield proxy
    finally:
        proxy.close()


def _authority(cluster: dict[str, str]) -> str:
    if "certificate-authority" in cluster:
        return Path(cluster["certificate-authority"]).read_text()
    return base64.b64decode(cluster["certificate-authority-data"]).decode()


def _read_request(client: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(1 << 16)
        if not more:
            return "", b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    length = int(found.group(1)) if found else 0
    while len(body) < length:
        body += client.recv(1 << 16)
    return head.decode(), body
