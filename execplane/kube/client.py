"""A thin client of the API server: exact bytes out, raw JSON in, our own errors.

The `kubernetes` library supplies what is hard (kubeconfig, exec plugins, service-account tokens and their renewal,
TLS, proxies); its models are not used: they refuse unknown fields, drop others, and cost a hundred times the decoding.
Its own request function is not used either, because it encodes bodies again and repeats requests by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from execplane import metrics
from execplane.contract.clock import Clock, SystemClock
from execplane.kube.credentials import Credentials
from execplane.kube.errors import AnswerLost, Expired, KubeError, Unauthorized, Unreachable, distrust, from_answer
from execplane.kube.options import KubeOptions

Query = Sequence[tuple[str, str]]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


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
        self.credentials = Credentials(options, self.clock)
        self.host = str(self.credentials.configuration.host)

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
                    raise self._error(response, data, what)
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
                raise self._error(response, _read(response, what), what)
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
        self.credentials.pool.clear()

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
        what = f"{method} {path}"
        read = timeout_seconds if timeout_seconds is not None else self.options.read_timeout_seconds
        headers = self._headers(content_type if body is not None else "")
        try:
            response = self.credentials.pool.request(
                method,
                self.host + path + (f"?{urlencode(list(query))}" if query else ""),
                body=body,
                headers=headers,
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
        headers.update(self.credentials.headers())
        return headers

    def _error(self, response: urllib3.BaseHTTPResponse, data: bytes, what: str) -> KubeError:
        error = from_answer(response.status, response.headers, data, what, self.clock.now())
        if isinstance(error, Unauthorized):
            error.hint = self.credentials.expired() or error.hint
            self.credentials.refused()
        return error


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
    if isinstance(error, ProxyError):
        return Unreachable(
            f"The proxy on the way to the API server at {host} does not let us through ({_said(error)}).",
            hint="Check kubernetes.proxy, the kubeconfig's proxy-url, HTTPS_PROXY and NO_PROXY.",
        )
    if isinstance(error, NewConnectionError | ConnectTimeoutError):
        return Unreachable(f"The API server at {host} cannot be reached ({_said(error)}).", hint="It is asked again.")
    if isinstance(error, SSLError):
        return distrust(error, host)
    return AnswerLost(f"{what}: sent, but no answer came ({_said(error)}).")


def _said(error: HTTPError) -> str:
    """The innermost words of urllib3's nested messages."""
    causes = [argument for argument in error.args if isinstance(argument, BaseException)]
    cause = causes[-1] if causes else error.__cause__ or error
    text = getattr(cause, "strerror", None) or str(cause).rsplit(": ", 1)[-1]
    return text.strip() or type(cause).__name__
