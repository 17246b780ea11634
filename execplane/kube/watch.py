"""An endless watch made of finite streams: list, watch from there, resume, and list again only when we must.

`stream_once` is one finite stream, `Watch.events` the endless loop around it, kept apart because only the first can
be tested without inventing an end. Traps that it knows: a 410 comes as an event or as an answer; bookmarks carry the
resourceVersion on while nothing of ours changes; a half-open connection says nothing at all, so every stream has an
end of its own (server side) and a longest silence (ours).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from execplane import metrics
from execplane.kube.client import Client, list_all
from execplane.kube.errors import AnswerLost, Expired, KubeError, from_answer


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The whole collection, as of `started` (monotonic, taken before the request). What is not in it is not there."""

    items: list[msgspec.Raw]
    resource_version: str
    started: float


@dataclass(frozen=True, kw_only=True)
class Changed:
    """One object was ADDED, MODIFIED or DELETED; a deleted one comes in its last state."""

    type: str
    object: msgspec.Raw


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The watch could not go on and will try again after `wait_seconds`; nothing is lost by it."""

    error: KubeError
    wait_seconds: float


WatchEvent = Listed | Changed | Interrupted


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    code: int = 0
    message: str = ""


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


_line = msgspec.json.Decoder(_Line)
_object = msgspec.json.Decoder(_Object)


@dataclass(kw_only=True)
class WatchHealth:
    """What a watch knows about itself; read by other threads."""

    synced: bool = False
    """The first list has been read."""
    restarts: int = 0
    """Streams that broke, were refused or fell silent (not those that ended as agreed)."""
    relists: int = 0
    """Lists after the first one."""
    last_error: str = ""
    """"" while it works."""
    failures: int = field(default=0)
    """In a row."""


class Watch:
    """One collection, watched until `close`. `events` runs in one thread; `close` may be called from any."""

    def __init__(
        self, client: Client, path: str, *, label_selector: str = "", jitter: random.Random | None = None
    ) -> None:
        self._client = client
        self._path = path
        self._selector = label_selector
        self._random = jitter or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._closed = threading.Event()
        self._response: urllib3.BaseHTTPResponse | None = None
        self.health = WatchHealth()

    def events(self) -> Iterator[WatchEvent]:
        """Everything that happens, for ever; starts with Listed. Ends after `close`."""
        version = ""
        while not self._closed.is_set():
            try:
                if not version:
                    listed = self._list()
                    version = listed.resource_version
                    yield listed
                for event, version in self._stream(version):  # noqa: B007, B020 - carried over to the next stream
                    if event is not None:
                        yield event
            except Expired as error:
                version = ""
                self._restarted(error)
            except KubeError as error:
                if self._closed.is_set():
                    return
                interrupted = self._interrupted(error)
                yield interrupted
                self._closed.wait(interrupted.wait_seconds)

    def close(self) -> None:
        """End the stream now, also while it waits for bytes."""
        self._closed.set()
        response = self._response
        if response is not None:
            _shut(response)

    def cut(self) -> None:
        """Drop the present connection as a broken network would; the watch resumes."""
        response = self._response
        if response is not None:
            _shut(response)

    def _list(self) -> Listed:
        started = self._client.clock.monotonic()
        items, version = list_all(self._client, self._path, label_selector=self._selector)
        if self.health.synced:
            self.health.relists += 1
        self.health.synced = True
        self._well()
        return Listed(items=items, resource_version=version, started=started)

    def _stream(self, version: str) -> Iterator[tuple[Changed | None, str]]:
        for event, newer in stream_once(self._client, self._path, self._selector, version, on_open=self._opened):
            self._well()
            yield event, newer
        self._response = None

    def _opened(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        if self._closed.is_set():
            _shut(response)

    def _well(self) -> None:
        self.health.failures = 0
        self.health.last_error = ""

    def _restarted(self, error: KubeError) -> None:
        self.health.restarts += 1
        metrics.current().count("execplane_kubernetes_watch_restarts_total", reason=type(error).__name__)

    def _interrupted(self, error: KubeError) -> Interrupted:
        self._restarted(error)
        self.health.failures += 1
        self.health.last_error = str(error)
        options = self._client.options
        most = min(options.backoff_most_seconds, options.backoff_first_seconds * 2 ** (self.health.failures - 1))
        wait = max(error.retry_after_seconds, most * self._random.uniform(0.5, 1.0))
        return Interrupted(error=error, wait_seconds=wait)


def stream_once(
    client: Client,
    path: str,
    label_selector: str,
    resource_version: str,
    *,
    on_open: object = None,
) -> Iterator[tuple[Changed | None, str]]:
    """One watch request: each change with the resourceVersion to resume from; None for a bookmark.

    Returns when the server ends it as agreed. Raises Expired when the resourceVersion is too old, AnswerLost when the
    connection broke or fell silent.
    """
    query = [
        ("watch", "1"),
        ("allowWatchBookmarks", "true"),
        ("resourceVersion", resource_version),
        ("timeoutSeconds", str(client.options.watch_timeout_seconds)),
    ]
    if label_selector:
        query.append(("labelSelector", label_selector))
    with client.stream(path, query=query, silence_seconds=client.options.watch_silence_seconds) as response:
        if callable(on_open):
            on_open(response)
        for line in _lines(response, path):
            parsed = _line.decode(line)
            head = _object.decode(parsed.object)
            if parsed.type == "ERROR":
                raise from_answer(head.code, {}, bytes(parsed.object), f"watch of {path}", client.clock.now())
            if parsed.type == "BOOKMARK":
                yield None, head.metadata.resource_version
            else:
                yield Changed(type=parsed.type, object=parsed.object), head.metadata.resource_version


def _lines(response: urllib3.BaseHTTPResponse, path: str) -> Iterator[bytes]:
    """Whole lines, each as soon as it is there."""
    pending = b""
    try:
        for chunk in response.stream(1 << 16, decode_content=False):
            *whole, pending = (pending + chunk).split(b"\n")
            yield from (line for line in whole if line)
    except (HTTPError, OSError, ValueError) as error:
        # ValueError, too: urllib3 reads from a socket that another thread has shut.
        raise AnswerLost(f"watch of {path}: the stream broke ({type(error).__name__}).") from error


def _shut(response: urllib3.BaseHTTPResponse) -> None:
    try:
        response.shutdown()
    except (OSError, ValueError, AttributeError):
        # It has ended by itself meanwhile.
        response.close()
