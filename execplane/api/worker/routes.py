"""The worker protocol's calls: check the token, decode, call the action, encode. See `contract.messages`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from execplane.actions import worker as actions
from execplane.actions.watched import Watched
from execplane.actions.worker import Beats, WorkerPolicy
from execplane.api.worker.app import FileAnswer, Request
from execplane.api.worker.tokens import AttemptClaims, TokenMint
from execplane.contract.clock import Clock
from execplane.contract.errors import Forbidden, InvalidInput, NotFound
from execplane.contract.keys import AttemptKey
from execplane.contract.logs import LogRecord
from execplane.contract.messages import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Accepted,
    ClaimRequest,
    End,
    EndAnswer,
    Heartbeat,
    HeartbeatAnswer,
    LogBatch,
    SecretValue,
    XComPull,
    XComPush,
)
from execplane.store import secrets, worker_rows
from execplane.store.worker_rows import LiveAttempt


class Logs(Protocol):
    def append(self, key: AttemptKey, records: Sequence[LogRecord]) -> int: ...


class Bundles(Protocol):
    def archive(self, digest: str) -> Path: ...


class Blobs(Protocol):
    def put_stream(self, chunks: Any, *, expect: str = "", limit_bytes: int = ...) -> Any: ...
    def path(self, sha256: str) -> Path: ...
    def has(self, sha256: str) -> bool: ...


Verify = Callable[[str, ClaimRequest, "worker_rows.ClaimRow"], None]
"""Is the bearer of this launch token the launch of this attempt? Raises Forbidden."""


@dataclass(frozen=True, kw_only=True)
class WorkerApi:
    """The routes with what they need; `handle` is the WorkerApp's handler."""

    clock: Clock
    policy: WorkerPolicy
    mint: TokenMint
    verify: dict[str, Verify]
    """Executor -> how a launch proves itself."""
    beats: Beats
    logs: Logs
    bundles: Bundles
    blobs: Blobs
    secrets: secrets.SecretBox
    nudge: Callable[[Sequence[str]], None]
    watched: Watched = field(default_factory=Watched)
    """Whose logs are being read: touched by the pages of this process."""

    def handle(self, request: Request) -> Any:
        match request.method, request.path:
            case "POST", ("claim",):
                return self._claim(request)
            case "POST", ("heartbeat",):
                return self._heartbeat(request)
            case "POST", ("end",):
                return self._end(request)
            case "POST", ("logs",):
                return self._append_logs(request)
            case "PUT", ("xcoms",):
                return self._push(request)
            case "POST", ("xcoms", "pull"):
                row, _ = self._holder(request)
                return actions.pull(row, msgspec.json.decode(request.body, type=XComPull))
            case (("GET" | "PUT" | "DELETE"), ("variables", key)):
                return self._variable(request, unquote(key))
            case "GET", ("connections", conn_id):
                return self._connection(request, unquote(conn_id))
            case "GET", ("bundles", digest):
                self._holder(request)
                return FileAnswer(path=self.bundles.archive(digest), content_type="application/gzip")
            case (("GET" | "PUT"), ("blobs", sha256)):
                return self._blob(request, sha256)
            case _:
                raise NotFound(f"The worker API has no {request.method} {'/'.join(request.path)}.")

    def _claim(self, request: Request) -> Any:
        wanted = msgspec.json.decode(request.body, type=ClaimRequest)
        if not OLDEST_PROTOCOL <= wanted.protocol <= PROTOCOL:
            raise actions.UnknownProtocol(
                f"This server speaks the worker protocols {OLDEST_PROTOCOL} to {PROTOCOL}, not {wanted.protocol}.",
                hint="Use a worker image of the server's version.",
            )
        row = worker_rows.claim_row(wanted.attempt_id)
        if row is None:
            raise actions.Fenced("The ledger has no such attempt.", hint="It may have been restored from a backup.")
        verify = self.verify.get(row.executor)
        if verify is None:
            raise Forbidden(f"This server does not run the executor {row.executor}.")
        verify(request.token, wanted, row)
        return actions.claim(wanted, row, self.policy, mint=self.mint.attempt_token, now=self.clock.now())

    def _holder(self, request: Request, *, ended: bool = False) -> tuple[LiveAttempt, AttemptClaims]:
        """The attempt whose token this is. Raises Forbidden, and Fenced: another process has it, or it has ended
        (which `ended` allows: last lines and a repeated end come late)."""
        claims = self.mint.read_attempt_token(request.token)
        row = actions.attempt_of(claims.attempt_id, claims.nonce)
        actions.token_may_serve(row, claims.expires_at, self.clock.now())
        if not ended:
            actions.demand_running(row)
        return row, claims

    def _heartbeat(self, request: Request) -> HeartbeatAnswer:
        row, claims = self._holder(request)
        now = self.clock.now()
        reason = actions.heartbeat(row, msgspec.json.decode(request.body, type=Heartbeat), self.beats, now=now)
        token, expires = "", None
        if actions.renewal_due(claims.issued_at, claims.expires_at, now):
            token, expires = self.mint.attempt_token(claims.attempt_id, claims.nonce, now)
        return HeartbeatAnswer(
            stop=bool(reason),
            reason=reason,
            token=token,
            token_expires_at=expires,
            watched=self.watched.now(row.attempt_id),
        )

    def _end(self, request: Request) -> EndAnswer:
        row, _ = self._holder(request, ended=True)
        report = msgspec.json.decode(request.body, type=End)
        self._keep_logs(row, report.logs)
        return actions.end(row, report, self.policy, now=self.clock.now())

    def _append_logs(self, request: Request) -> Accepted:
        row, _ = self._holder(request, ended=True)
        self._keep_logs(row, msgspec.json.decode(request.body, type=LogBatch).records)
        return Accepted(watched=self.watched.now(row.attempt_id))

    def _keep_logs(self, row: LiveAttempt, records: Sequence[LogRecord]) -> None:
        if records:
            self.logs.append(row.key, records)
            self.nudge([f"log:{row.attempt_id}"])

    def _push(self, request: Request) -> Accepted:
        row, _ = self._holder(request)
        push = msgspec.json.decode(request.body, type=XComPush)
        actions.push(row, push.values, push.map_length, now=self.clock.now())
        return Accepted()

    def _variable(self, request: Request, key: str) -> Any:
        row, _ = self._holder(request)
        _named(key)
        now = self.clock.now()
        if request.method == "GET":
            value = secrets.variable(self.secrets, key)
            secrets.record_access(row.attempt_id, "variable", key, found=value is not None, now=now)
            if value is None:
                raise NotFound(
                    f"There is no Variable {key}.", hint=f"Set it with `execplane variables set {key} VALUE`."
                )
            return SecretValue(value=value)
        if request.method == "PUT":
            wanted = msgspec.json.decode(request.body, type=SecretValue)
            secrets.set_variable(self.secrets, key, wanted.value, wanted.description or None)
        else:
            secrets.delete_variable(key)
        secrets.record_access(row.attempt_id, "variable", key, found=True, now=now)
        return Accepted()

    def _connection(self, request: Request, conn_id: str) -> SecretValue:
        row, _ = self._holder(request)
        _named(conn_id)
        value = secrets.connection_json(self.secrets, conn_id)
        secrets.record_access(row.attempt_id, "connection", conn_id, found=value is not None, now=self.clock.now())
        if value is None:
            raise NotFound(
                f"There is no Connection {conn_id}.", hint=f"Set it with `execplane connections set {conn_id} URI`."
            )
        return SecretValue(value=value)

    def _blob(self, request: Request, sha256: str) -> Any:
        self._holder(request)
        if request.method == "PUT":
            assert request.chunks is not None
            self.blobs.put_stream(request.chunks, expect=sha256, limit_bytes=self.policy.xcom_max_bytes)
            return Accepted()
        if not self.blobs.has(sha256):
            raise NotFound(f"There is no blob {sha256[:12]}….")
        return FileAnswer(path=self.blobs.path(sha256))


def _named(name: str) -> None:
    if not name or len(name) > 250 or "\0" in name:
        raise InvalidInput("Variables and Connections have names of 1 to 250 characters, without a NUL.")


def local_verifier(mint: TokenMint, clock: Clock) -> Verify:
    """Local launches carry a token that was minted for their attempt and handed over through a pipe."""

    def verify(token: str, request: ClaimRequest, row: worker_rows.ClaimRow) -> None:
        now: datetime = clock.now()
        if mint.read_launch_token(token, now) != request.attempt_id:
            raise Forbidden("The launch token is for another attempt.")

    return verify


class Identified(Protocol):
    """Which pod a service-account token speaks for (fulfilled by kube.review.PodIdentity)."""

    @property
    def namespace(self) -> str: ...
    @property
    def pod_name(self) -> str: ...
    @property
    def pod_uid(self) -> str: ...


def pod_verifier(identify: Callable[[str], Identified]) -> Verify:
    """Pods prove themselves with a projected service-account token that is bound to the pod: its name must be the
    intent's, and its uid the one that claims."""

    def verify(token: str, request: ClaimRequest, row: worker_rows.ClaimRow) -> None:
        pod = identify(token)
        if (pod.namespace, pod.pod_name) != (row.namespace, row.pod_name):
            raise Forbidden(f"The token is of the pod {pod.namespace}/{pod.pod_name}, which is not this attempt's.")
        if pod.pod_uid != request.uid:
            raise Forbidden("The token is of another pod of the same name.")

    return verify
