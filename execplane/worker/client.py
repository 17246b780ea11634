"""The worker API over one kept-alive connection: retries, back-off, and what its answers mean.

Every call of the protocol may be repeated (see contract.messages), so a call whose answer was lost is sent again
until its patience ends.
"""

from __future__ import annotations

import http.client
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit

import msgspec

from execplane.contract.clock import Clock
from execplane.contract.errors import ExecplaneError, Unavailable
from execplane.contract.messages import Refusal

T = TypeVar("T")
Wait = Callable[[float], bool]
"""Waits so many seconds; True: give up now, somebody wants us to end."""

_PREFIX = "/worker/v1/"
_TRANSPORT_ERRORS = (OSError, http.client.HTTPException)
_CHUNK_BYTES = 1 << 20
_TOKEN_PATIENCE_SECONDS = 60.0
_NOT_YET_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Refused(ExecplaneError):
    """The API said no, and asking again would not help."""

    def __init__(self, status: int, refusal: Refusal) -> None:
        super().__init__(refusal.message, hint=refusal.hint)
        self.status = status
        self.code = refusal.code


class Fenced(Refused):
    """The attempt is not (or no longer) this process's: stop working, report nothing."""


class Unreachable(Unavailable):
    """The API did not answer for as long as we were ready to wait."""


class _Again(Exception):
    """This try failed in a way that another may not."""

    def __init__(self, why: str, *, not_yet: bool = False, refused: Refused | None = None) -> None:
        super().__init__(why)
        self.not_yet = not_yet
        self.refused = refused


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def backoff(first_seconds: float, cap_seconds: float, rng: Callable[[], float]) -> Iterator[float]:
    """Doubling delays with jitter: each between half of its step and the whole of it."""
    step = first_seconds
    while True:
        yield step * (0.5 + rng() / 2)
        step = min(step * 2, cap_seconds)


class Client:
    """Calls of one thread. `token` is asked before each call, because heartbeats renew it."""

    def __init__(
        self,
        api_url: str,
        token: Callable[[], str],
        *,
        clock: Clock,
        wait: Wait,
        timeout_seconds: float = 30.0,
        backoff_first_seconds: float = 0.1,
        backoff_cap_seconds: float = 15.0,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._url = urlsplit(api_url)
        self._token = token
        self._clock = clock
        self._wait = wait
        self._timeout = timeout_seconds
        self._backoff = (backoff_first_seconds, backoff_cap_seconds)
        self._rng = rng
        self._connection: http.client.HTTPConnection | None = None
        self._base = _PREFIX if self._url.scheme == "unix" else self._url.path.rstrip("/") + _PREFIX
        self.last_contact = clock.monotonic()
        """Monotonic time of the last answer that served us."""
        self.failing = False
        """The last try came to nothing."""

    def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: msgspec.Struct | bytes | None = None,
        *,
        patience_seconds: float,
    ) -> T:
        """Ask until there is an answer. Raises Refused, Fenced, or Unreachable once the patience ends."""
        payload: bytes | None
        if isinstance(body, msgspec.Struct):
            payload, content_type = msgspec.json.encode(body), "application/json"
        else:
            payload, content_type = body, "application/octet-stream"
        data = self._persist(lambda: self._answer(self._request(method, path, payload, content_type)), patience_seconds)
        return cast(T, data) if answer is bytes else msgspec.json.decode(data or b"{}", type=answer)

    def download(self, path: str, write: Callable[[bytes], object], *, patience_seconds: float) -> None:
        """GET in chunks. `write` gets b"" at the start of every try: what came before is void."""

        def once() -> bytes:
            response = self._request("GET", path)
            if response.status != 200:
                return self._answer(response)
            write(b"")
            while chunk := response.read(_CHUNK_BYTES):
                write(chunk)
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            self.last_contact = self._clock.monotonic()
            return b""

        self._persist(once, patience_seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _persist(self, once: Callable[[], bytes], patience_seconds: float) -> bytes:
        deadline = self._clock.monotonic() + patience_seconds
        delays = backoff(*self._backoff, self._rng)
        asked_again = 0
        refused_since: float | None = None
        while True:
            try:
                data = once()
                self.failing = False
                return data
            except _TRANSPORT_ERRORS as error:
                self.close()
                why = f"{type(error).__name__}: {error}"
                delay = next(delays)
            except _Again as again:
                why = str(again)
                delay = _NOT_YET_SECONDS[min(asked_again, 6)] if again.not_yet else next(delays)
                asked_again += again.not_yet
                if again.refused is not None:
                    refused_since = refused_since or self._clock.monotonic()
                    if self._clock.monotonic() - refused_since >= _TOKEN_PATIENCE_SECONDS:
                        raise again.refused from None
            self.failing = True
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._wait(min(delay, left)):
                raise Unreachable(
                    f"The worker API at {self._url.geturl()} did not serve us within {patience_seconds:g} s ({why}).",
                    hint="Check that the web server runs and can be reached from here.",
                )

    def _request(
        self, method: str, path: str, payload: bytes | None = None, content_type: str = ""
    ) -> http.client.HTTPResponse:
        reused = self._connection is not None
        connection = self._connection = self._connection or self._connect()
        headers = {"Authorization": f"Bearer {self._token()}"}
        if payload is not None:
            headers["Content-Type"] = content_type
        try:
            connection.request(method, self._base + path, payload, headers)
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if not reused:
                raise
        # A server closes idle connections as it likes; that is no outage, so ask at once on a new one.
        connection = self._connection = self._connect()
        connection.request(method, self._base + path, payload, headers)
        return connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        url = self._url
        if url.scheme == "unix":
            return _UnixConnection(unquote(url.path), self._timeout)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(url.hostname or "localhost", url.port, timeout=self._timeout)

    def _answer(self, response: http.client.HTTPResponse) -> bytes:
        data = response.read()
        status = response.status
        if 200 <= status < 300:
            self.last_contact = self._clock.monotonic()
            return data
        refusal = _refusal(status, data)
        if status == 425:
            raise _Again(refusal.message, not_yet=True)
        if status == 401:
            # It may pass: keys are being rotated, or the next heartbeat brings a new token.
            raise _Again(refusal.message, refused=Refused(status, refusal))
        if status >= 500 or status in (408, 429):
            raise _Again(f"{status}: {refusal.message}")
        raise (Fenced if status == 409 else Refused)(status, refusal)


def _refusal(status: int, data: bytes) -> Refusal:
    try:
        return msgspec.json.decode(data, type=Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not our API: a proxy's page, or a server that fell over.
        return Refusal(code="unavailable", message=f"HTTP {status} without a reason")


def path_of(*parts: Any) -> str:
    """A path under /worker/v1/ with its parts quoted: keys may hold any character."""
    return "/".join(quote(str(part), safe="") for part in parts)
