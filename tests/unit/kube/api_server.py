"""A small API server for unit tests: says what it is told to, over HTTP or TLS, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, Any]


@dataclass
class ApiServer:
    url: str = ""
    answer: Callable[[str, str, bytes], Answer] = lambda method, path, body: (200, {})
    """(method, path with query, body) -> status and JSON."""
    authorizations: list[str] = field(default_factory=list)
    proxy_logins: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Authorization headers that get a 401."""
    ahead: timedelta = timedelta(0)
    """Of its clock, as the Date header tells it."""


@contextlib.contextmanager
def api_server(tls: tuple[Path, Path] | None = None) -> Iterator[ApiServer]:
    """`tls`: files of a certificate and its key."""
    served = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16
        """Headers and body in one packet: two would wait for each other."""

        def talk(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            authorization = self.headers.get("Authorization", "")
            served.authorizations.append(authorization)
            served.proxy_logins.append(self.headers.get("Proxy-Authorization", ""))
            served.asked.append((self.command, self.path))
            denied = authorization in served.refused
            status, said = (401, {"reason": "Unauthorized"}) if denied else served.answer(self.command, self.path, body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PATCH = talk

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) + served.ahead, usegmt=True)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            running.socket = context.wrap_socket(running.socket, server_side=True, do_handshake_on_connect=False)
        served.url = f"http{'s' if tls else ''}://127.0.0.1:{running.server_port}"
        # A client that distrusts us breaks the handshake: that is its business.
        running.handle_error = lambda *arguments: None  # type: ignore[method-assign]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            running.shutdown()
            thread.join()


def kubeconfig(folder: Path, url: str, user: dict[str, Any], **cluster: Any) -> Path:
    """A kubeconfig (JSON, which every YAML reader takes) with one user."""
    file = folder / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "k", "cluster": {"server": url, **cluster}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            }
        )
    )
    return file


@dataclass(frozen=True)
class Authority:
    """Signs certificates for 127.0.0.1."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def file(self) -> Path:
        return self.folder / "ca.crt"

    def write(self) -> Authority:
        """Its own certificate, good for ten days."""
        now = datetime.now(UTC)
        made = _builder("authority", "authority", self.key, now - timedelta(days=1), now + timedelta(days=10))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return self

    def certificate(
        self, name: str, *, ends_in: timedelta = timedelta(days=5), address: str = "127.0.0.1"
    ) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        made = _builder(name, "authority", key, min(now, now + ends_in) - timedelta(days=1), now + ends_in)
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=_name(subject),
        issuer_name=_name(issuer),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=since,
        not_valid_after=until,
    )


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])
