"""A thin client of the API server: exact bytes out, raw JSON in, our own errors.

The `kubernetes` library supplies what is hard (kubeconfig, exec plugins, service-account tokens and their renewal,
TLS, proxies); its models are not used: they refuse unknown fields, drop others, and cost a hundred times the decoding.
Its own request function is not used either, because it encodes bodies again and repeats requests by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from kubernetes import client as library
from kubernetes.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
)
from kubernetes.utils.keepalive import tcp_keepalive_socket_options
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from execplane import metrics
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import ConfigError
from execplane.kube.errors import AnswerLost, Expired, KubeError, Unreachable, from_answer
from execplane.kube.options import KubeOptions

Query = Sequence[tuple[str, str]]

_CREDENTIALS_SECONDS = 0.5

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct):
    """One page of a list; the items are left as they came."""

    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[msgspec.Raw] = []


_page = msgspec.json.Decoder(Page)


class Client:
    """Requests to one API server. Thread-safe; connections are pooled and kept alive."""

    def __init__(self, options: KubeOptions, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or SystemClock()
        configuration = _configuration(options)
        self.host = str(configuration.host)
        self._api = library.ApiClient(configuration)
        # The pool is asked directly: only so do exact bytes go out, and nothing is repeated behind our back.
        self._pool: urllib3.PoolManager = self._api.rest_client.pool_manager
        self._known_credentials: tuple[dict[str, str], float] = {}, float("-inf")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """One request, one answer; raises a KubeError for anything but success."""
        what = f"{method} {path}"
        started, status = self.clock.monotonic(), "lost"
        try:
            with self._send(method, path, query, body, content_type, timeout_seconds) as response:
                data = _read(response, what)
                status = str(response.status)
                if response.status >= 300:
                    raise from_answer(response.status, response.headers, data, what, self.clock.now())
                return data
        finally:
            _measure(method, path, status, self.clock.monotonic() - started)

    @contextlib.contextmanager
    def stream(
        self, path: str, *, query: Query = (), silence_seconds: float | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """A GET whose answer goes on: a watch, a log. Ends with an error after `silence_seconds` without a byte."""
        what = f"GET {path}"
        with self._send("GET", path, query, None, JSON, silence_seconds) as response:
            if response.status >= 300:
                raise from_answer(response.status, response.headers, _read(response, what), what, self.clock.now())
            yield response

    def create_pod(self, namespace: str, body: bytes) -> bytes:
        """Post these exact bytes. A field that the server does not know is an error, not a silent loss.

        Raises AnswerLost when the pod may exist although no answer came.
        """
        return self.request("POST", pods_path(namespace), query=[("fieldValidation", "Strict")], body=body)

    def get_pod(self, namespace: str, name: str) -> bytes:
        return self.request("GET", pod_path(namespace, name))

    def delete_pod(self, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None) -> None:
        """Delete exactly the pod with this uid; another one of the same name raises PreconditionFailed."""
        wish: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace_seconds is not None:
            wish["gracePeriodSeconds"] = grace_seconds
        self.request("DELETE", pod_path(namespace, name), body=msgspec.json.encode(wish))

    def patch_pod(
        self, namespace: str, name: str, patch: dict[str, Any], *, content_type: str = STRATEGIC_PATCH
    ) -> bytes:
        """With metadata.uid in `patch`, another pod of the same name raises PreconditionFailed."""
        body = msgspec.json.encode(patch)
        return self.request("PATCH", pod_path(namespace, name), body=body, content_type=content_type)

    def list_pages(self, path: str, *, label_selector: str = "") -> Iterator[Page]:
        """All objects of a collection, page by page. A list that grows too old underway raises Expired."""
        token = ""
        while True:
            query = [("limit", str(self.options.page_size))]
            if label_selector:
                query.append(("labelSelector", label_selector))
            if token:
                query.append(("continue", token))
            page = _page.decode(self.request("GET", path, query=query))
            yield page
            token = page.metadata.continue_
            if not token:
                return

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    @contextlib.contextmanager
    def _send(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        content_type: str,
        timeout_seconds: float | None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        url = self.host + path + (f"?{urlencode(list(query))}" if query else "")
        what = f"{method} {path}"
        read = timeout_seconds if timeout_seconds is not None else self.options.read_timeout_seconds
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=self._headers(content_type if body is not None else ""),
                timeout=urllib3.Timeout(connect=self.options.connect_timeout_seconds, read=read),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            raise _no_answer(error, what, self.host) from error
        try:
            yield response
        finally:
            # Has gone back to the pool by itself when it was read to its end; else it must not go there.
            response.close()

    def _headers(self, content_type: str) -> dict[str, str]:
        # Key sets and logs have media types of their own.
        headers = {"Accept": f"{JSON}, */*;q=0.5", "User-Agent": "execplane"}
        if content_type:
            headers["Content-Type"] = content_type
        headers.update(self._credentials())
        return headers

    def _credentials(self) -> dict[str, str]:
        """Renews expired tokens (exec plugin, service-account file) as a side effect, which costs as much as the rest
        of a create: so not for each of hundreds a second. Threads that come at once both renew, which is harmless."""
        found, until = self._known_credentials
        now = self.clock.monotonic()
        if now < until:
            return found
        headers: dict[str, str] = {}
        try:
            self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        except (ConfigException, OSError, ValueError) as error:
            raise Unreachable(
                f"The credentials for {self.host} could not be renewed: {error}",
                hint="Check the kubeconfig's exec plugin or the service-account token.",
            ) from error
        self._known_credentials = headers, now + _CREDENTIALS_SECONDS
        return headers


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _measure(method: str, path: str, status: str, seconds: float) -> None:
    verb = _VERBS.get(method) or ("list" if path.endswith("/pods") else "get")
    resource = "pods" if "/pods" in path else "other"
    metrics.current().count("execplane_kubernetes_requests_total", verb=verb, resource=resource, status=status)
    metrics.current().observe("execplane_kubernetes_request_seconds", seconds, verb=verb, resource=resource)


def pods_path(namespace: str) -> str:
    """The collection of a namespace's pods; "" means all namespaces."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods" if namespace else "/api/v1/pods"


def pod_path(namespace: str, name: str) -> str:
    return f"{pods_path(namespace)}/{quote(name, safe='')}"


def list_all(
    client: Client, path: str, *, label_selector: str = "", attempts: int = 3
) -> tuple[list[msgspec.Raw], str]:
    """A whole collection and the resourceVersion to watch from; starts again when it expires underway."""
    for left in range(attempts, 0, -1):
        items: list[msgspec.Raw] = []
        version = ""
        try:
            for page in client.list_pages(path, label_selector=label_selector):
                items += page.items
                version = page.metadata.resource_version
        except Expired:
            if left == 1:
                raise
            continue
        return items, version
    raise AssertionError("unreachable")


def _read(response: urllib3.BaseHTTPResponse, what: str) -> bytes:
    try:
        return response.read()
    except HTTPError as error:
        raise AnswerLost(f"{what}: the answer broke off ({_said(error)}).") from error


def _no_answer(error: HTTPError, what: str, host: str) -> KubeError:
    """Which of the two it is: nothing was sent, or the answer is missing."""
    if isinstance(error, NewConnectionError | ConnectTimeoutError | ProxyError):
        return Unreachable(f"The API server at {host} cannot be reached ({_said(error)}).", hint="It is asked again.")
    if isinstance(error, SSLError):
        return Unreachable(
            f"The API server at {host} cannot be trusted ({_said(error)}).",
            hint="Check certificate-authority in the kubeconfig, and the certificate's names and dates.",
        )
    return AnswerLost(f"{what}: sent, but no answer came ({_said(error)}).")


def _said(error: HTTPError) -> str:
    """The innermost words of urllib3's nested messages."""
    causes = [argument for argument in error.args if isinstance(argument, BaseException)]
    cause = causes[-1] if causes else error.__cause__ or error
    text = getattr(cause, "strerror", None) or str(cause).rsplit(": ", 1)[-1]
    return text.strip() or type(cause).__name__


def _configuration(options: KubeOptions) -> library.Configuration:
    configuration = library.Configuration()
    try:
        if options.in_cluster or (
            options.in_cluster is None and not options.kubeconfig and _SERVICE_ACCOUNT_TOKEN.exists()
        ):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(  # type: ignore[no-untyped-call]
                config_file=options.kubeconfig or None,
                context=options.context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, OSError) as error:
        source = options.kubeconfig or "in-cluster" if options.in_cluster else options.kubeconfig or "~/.kube/config"
        raise ConfigError(
            f"No usable Kubernetes configuration in {source}: {error}",
            hint="Set EXECPLANE_KUBERNETES__KUBECONFIG, or run in a pod with a service account.",
        ) from error
    configuration.connection_pool_maxsize = options.pool_size
    configuration.socket_options = tcp_keepalive_socket_options(*options.tcp_keepalive_seconds)
    return configuration
