"""How we prove who we are to an API server, and how that stays true: files that change, plugins, what expires.

The `kubernetes` library reads kubeconfigs and service accounts; when to read them again is decided here, because it
reads a tokenFile once, swallows the failure of an exec plugin, and waits for one that hangs without end. What is
renewed: a token file each half minute, a plugin's credentials before they expire, and everything (the kubeconfig
itself included) after the API server has refused it.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from cryptography import x509
from kubernetes import client as library
from kubernetes.config import load_incluster_config
from kubernetes.config.exec_provider import ExecProvider
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger
from kubernetes.utils.keepalive import tcp_keepalive_socket_options

from execplane.contract.clock import Clock
from execplane.contract.errors import ConfigError
from execplane.kube.connections import pool_of, transport
from execplane.kube.errors import Unreachable
from execplane.kube.options import KubeOptions
from execplane.kube.unusable import FAILURES, Unusable, why

logger = logging.getLogger(__name__)

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_READ_AGAIN_SECONDS = 30.0
"""The kubelet replaces a projected token long before its end."""
_BEFORE_EXPIRY_SECONDS = 30.0
_AFTER_REFUSAL_SECONDS = 5.0
"""Between two renewals because of a 401: many threads are refused at once, and a plugin may be slow or billed."""
_PLUGIN_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """Something that stops being valid."""

    what: str
    """As the subject of a sentence."""
    at: datetime
    renewed: bool = False
    """By itself, so its end is nobody's task."""


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    configuration: Any
    value: str
    """Of the Authorization header."""
    source: str
    """Of the token: "token", "token file", "exec plugin", "auth provider", ""."""
    expires: datetime | None
    """As the plugin said."""
    transport: tuple[Any, ...]
    pool: urllib3.PoolManager
    """Made together with the rest: what no connection can be made of replaces nothing."""


@dataclass
class Credentials:
    """Loaded at once, so that a wrong kubeconfig is a ConfigError at the start. Thread-safe."""

    options: KubeOptions
    clock: Clock
    problem: str = field(default="", init=False)
    """Why the last renewal failed."""
    _loaded: _Loaded = field(init=False)
    _renew_at: float = field(init=False)
    _renewed_at: float = field(init=False)
    _renewing: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        try:
            self._load()
        except FAILURES as error:
            # Not as its cause: a traceback would print what the words leave out.
            raise ConfigError(
                f"No usable Kubernetes configuration in {self._place()}: {why(error)}.",
                hint="Mend it, set EXECPLANE_KUBERNETES__KUBECONFIG, or run in a pod with a service account.",
            ) from None

    @property
    def configuration(self) -> Any:
        """The library's, as last loaded: address, certificates, proxy."""
        return self._loaded.configuration

    @property
    def pool(self) -> urllib3.PoolManager:
        """Connections for them. Another one after a renewal that brought another certificate; requests under way keep
        the connections that they have."""
        return self._loaded.pool

    def headers(self) -> dict[str, str]:
        """The Authorization header, renewed when due. Raises Unreachable when what we have has ended and no renewal
        works; what may still be good is used meanwhile."""
        if self.clock.monotonic() >= self._renew_at:
            self._renew()
        loaded = self._loaded
        if self.problem and loaded.expires is not None and loaded.expires <= self.clock.now():
            raise Unreachable(self.problem, hint="Check the exec plugin that the kubeconfig names.")
        value = loaded.value
        if loaded.source == "auth provider":
            try:
                value = _authorization(loaded.configuration)
            except FAILURES as error:
                raise Unreachable(self._failed(error), hint="Check the kubeconfig's auth-provider.") from None
        return {"authorization": value} if value else {}

    def refused(self) -> None:
        """The API server does not accept them: load everything anew at the next use, but not for each of many."""
        self._renew_at = min(self._renew_at, max(self.clock.monotonic(), self._renewed_at + _AFTER_REFUSAL_SECONDS))

    def expiries(self) -> list[Expiry]:
        """When what we show, and what we trust, ends; what cannot be read is left out."""
        loaded, found = self._loaded, []
        host, files = loaded.configuration.host, loaded.configuration
        if (at := loaded.expires or _token_end(loaded.value.partition(" ")[2])) is not None:
            found.append(Expiry(what=f"The {loaded.source} for {host}", at=at, renewed=loaded.source != "token"))
        if files.cert_file and (at := _certificate_end(files.cert_file)) is not None:
            renewed = loaded.source == "exec plugin"
            found.append(Expiry(what=f"The client certificate for {host}", at=at, renewed=renewed))
        if files.ssl_ca_cert and (at := _certificate_end(files.ssl_ca_cert)) is not None:
            found.append(Expiry(what=f"The certificate authority of {host}", at=at))
        return found

    def expired(self) -> str:
        """Sentences about what we show and cannot be accepted; "" when nothing explains a refusal."""
        now = self.clock.now()
        said = [f"{one.what} has expired ({one.at:%Y-%m-%d %H:%M} UTC)." for one in self.expiries() if one.at <= now]
        return " ".join([*said, *([self.problem] if self.problem else [])])

    def _renew(self) -> None:
        # Who comes second uses what there is: a plugin may talk to the network, and nobody waits for that under a lock.
        if not self._renewing.acquire(blocking=False):
            return
        try:
            self._load()
        except FAILURES as error:
            self.problem = self._failed(error)
            logger.warning("%s", self.problem)
            self._renewed_at = self.clock.monotonic()
            self._renew_at = self._renewed_at + _AFTER_REFUSAL_SECONDS
        finally:
            self._renewing.release()

    def _failed(self, error: Exception) -> str:
        return f"The credentials for {self.configuration.host} could not be renewed: {why(error)}."

    def _place(self) -> str:
        return "the pod's service account" if self._in_cluster() else _kubeconfig(self.options)

    def _in_cluster(self) -> bool:
        options = self.options
        return options.in_cluster or (
            options.in_cluster is None and not options.kubeconfig and SERVICE_ACCOUNT_TOKEN.exists()
        )

    def _load(self) -> None:
        configuration = library.Configuration()
        source, expires, good_for = "token file", None, _READ_AGAIN_SECONDS
        if self._in_cluster():
            load_incluster_config(client_configuration=configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]
        else:
            user = _Kubeconfig.of(self.options)
            user.load_and_set(configuration)
            if "proxy" in vars(user):
                # As for kubectl: NO_PROXY belongs to HTTPS_PROXY, not to what names this one server's proxy.
                configuration.no_proxy = ""
            source, expires = user.source, user.expires
            if source != "auth provider":
                configuration.refresh_api_key_hook = None
            if source != "token file":
                good_for = float("inf")
            if source == "exec plugin" and expires is not None:
                left = (expires - self.clock.now()).total_seconds()
                # A plugin whose credentials end at once must not be run for every request.
                good_for = max(left - _BEFORE_EXPIRY_SECONDS, _AFTER_REFUSAL_SECONDS)
        self._settle(configuration)
        before: _Loaded | None = getattr(self, "_loaded", None)
        if before and before.configuration.host != configuration.host:
            # Pods of ours that are not in another cluster would all seem lost.
            raise Unusable(f"the kubeconfig names another server now, {configuration.host}: restart to use it")
        made_of = transport(configuration)
        self._loaded = _Loaded(
            configuration=configuration,
            value=_authorization(configuration),
            source=source,
            expires=expires,
            transport=made_of,
            pool=before.pool if before and before.transport == made_of else pool_of(configuration),
        )
        self._renewed_at = self.clock.monotonic()
        self._renew_at = self._renewed_at + good_for
        self.problem = ""

    def _settle(self, configuration: Any) -> None:
        """Our own settings, which win over the kubeconfig's."""
        options = self.options
        if options.ssl_ca_cert:
            if not Path(options.ssl_ca_cert).is_file():
                raise Unusable(f"the file {options.ssl_ca_cert} (ssl_ca_cert) does not exist")
            configuration.ssl_ca_cert = options.ssl_ca_cert
            # Who names an authority wants it asked, whatever the kubeconfig skips.
            configuration.verify_ssl = True
        if options.verify_ssl is not None:
            configuration.verify_ssl = options.verify_ssl
        if options.proxy:
            configuration.proxy, configuration.no_proxy = options.proxy, ""
        configuration.connection_pool_maxsize = options.pool_size
        if options.tcp_keepalive_seconds is not None:
            configuration.socket_options = tcp_keepalive_socket_options(*options.tcp_keepalive_seconds)


def _authorization(configuration: Any) -> str:
    """Raises Unusable for what no header can hold: refused later, at each request, it would be quoted."""
    # A token file ends with a newline, as files do.
    value = str((configuration.auth_settings().get("BearerToken") or {}).get("value") or "").strip()
    if not (value.isascii() and value.isprintable()):
        raise Unusable("the token has a line break within it, or another character that no HTTP header can hold")
    return value


def _kubeconfig(options: KubeOptions) -> str:
    return options.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"


_Reader: Any = KubeConfigLoader


class _Kubeconfig(_Reader):  # type: ignore[misc]
    """The library's reader, with an exec plugin whose failure is told and bounded."""

    source = ""
    expires: datetime | None = None

    @classmethod
    def of(cls, options: KubeOptions) -> _Kubeconfig:
        files: Any = KubeConfigMerger(_kubeconfig(options))  # type: ignore[no-untyped-call]
        if files.config is None:
            raise Unusable("there is no such file, or it is empty")
        return cls(config_dict=files.config, config_base_path=None, active_context=options.context or None)

    def _load_auth_provider_token(self) -> Any:
        found = super()._load_auth_provider_token()
        if found:
            self.source = "auth provider"
        return found

    def _load_user_token(self) -> Any:
        found = super()._load_user_token()
        if found:
            self.source = "token" if "token" in self._user else "token file"
        return found

    def _load_from_exec_plugin(self) -> Any:
        if "exec" not in self._user:
            return None
        folder = self._get_base_path(self._cluster.path)
        status = _run(ExecProvider(self._user["exec"], folder, self._cluster))  # type: ignore[no-untyped-call]
        self.source = "exec plugin"
        if said := status.get("expirationTimestamp"):
            self.expires = datetime.fromisoformat(str(said).replace("Z", "+00:00"))
        if "token" in status:
            self.token = f"Bearer {status['token']}"
        elif "clientCertificateData" in status and "clientKeyData" in status:
            pair = f"{status['clientCertificateData']}\n{status['clientKeyData']}"
            self.cert_file = self.key_file = _kept(pair)
        else:
            raise Unusable("the exec plugin gave neither a token nor a client certificate with its key")
        return True


def _run(plugin: Any) -> dict[str, Any]:
    """What the plugin says, as the client-authentication API has it."""
    request = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if plugin.cluster:
        request["spec"]["cluster"] = plugin.cluster.value
    command = plugin.args[0]
    try:
        done = subprocess.run(
            plugin.args,
            capture_output=True,
            cwd=plugin.cwd,
            env={**plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(request)},
            timeout=_PLUGIN_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Unusable(f"the exec plugin {command} did not answer within {_PLUGIN_SECONDS:g} s") from None
    except OSError as error:
        raise Unusable(f"the exec plugin {command} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-500:] or "it said nothing"
        raise Unusable(f"the exec plugin {command} ended with code {done.returncode}: {said}")
    try:
        answer = json.loads(done.stdout)
        status = answer["status"]
    except (ValueError, KeyError, TypeError):
        # Not what it printed: that may hold a token.
        raise Unusable(f"the exec plugin {command} did not print an ExecCredential with a status") from None
    if answer.get("apiVersion") != plugin.api_version:
        raise Unusable(
            f"the exec plugin {command} speaks {answer.get('apiVersion')}, the kubeconfig asks for {plugin.api_version}"
        )
    return dict(status)


def _kept(content: str) -> str:
    """Its file: TLS wants files. The library removes them when the process ends."""
    from kubernetes.config.kube_config import _create_temp_file_with_content

    return str(_create_temp_file_with_content(content))  # type: ignore[no-untyped-call]


def _token_end(token: str) -> datetime | None:
    """When a JSON web token ends; None for any other."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        return None


def _certificate_end(file: str) -> datetime | None:
    """The first end among the file's certificates."""
    try:
        found = x509.load_pem_x509_certificates(Path(file).read_bytes())
    except (OSError, ValueError):
        return None
    return min((one.not_valid_after_utc for one in found), default=None)
