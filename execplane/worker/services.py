"""The sdk's Services over the worker API: XComs (large ones by way of the blob store), Variables, Connections.

Used in the task's process, on a connection of its own. Calls outlast an API outage: the supervisor, not a call,
decides when the attempt has been without contact for too long.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable

import msgspec

from execplane.contract.errors import InvalidInput
from execplane.contract.messages import (
    Accepted,
    ClaimAnswer,
    SecretValue,
    XComPull,
    XComPush,
    XComValue,
    XComValues,
)
from execplane.contract.workload import WorkerStart
from execplane.worker.client import Client, Refused, path_of


class ApiServices:
    """One task's services. Thread-safe: one call at a time goes over the connection."""

    def __init__(
        self, client: Client, start: WorkerStart, claim: ClaimAnswer, nonce: str, *, patience_seconds: float
    ) -> None:
        self._client = client
        self._own = start.key.task
        self._claim = claim
        self._nonce = nonce
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._prefetched = {(xcom.task_id, xcom.key, xcom.map_index): xcom for xcom in claim.xcoms}

    def xcom_pull(self, request: XComPull) -> XComValues:
        known = self._from_claim(request)
        if known is not None:
            return known
        with self._lock:
            answer = self._client.call("POST", "xcoms/pull", XComValues, request, patience_seconds=self._patience)
            values = tuple(self._fetched(value) for value in answer.values)
        return msgspec.structs.replace(answer, values=values)

    def xcom_push(self, values: tuple[XComValue, ...]) -> None:
        push = XComPush(nonce=self._nonce, values=self.offload(values))
        with self._lock:
            self._client.call("PUT", "xcoms", Accepted, push, patience_seconds=self._patience)

    def offload(self, values: Iterable[XComValue]) -> tuple[XComValue, ...]:
        """The same values with the large ones moved to the blob store. Raises InvalidInput above the limit."""
        return tuple(self._offloaded(value) for value in values)

    def variable_get(self, key: str) -> SecretValue | None:
        return self._secret(path_of("variables", key))

    def variable_set(self, key: str, value: SecretValue) -> None:
        self._plain("PUT", path_of("variables", key), value)

    def variable_delete(self, key: str) -> None:
        self._plain("DELETE", path_of("variables", key), None)

    def connection_get(self, conn_id: str) -> SecretValue | None:
        return self._secret(path_of("connections", conn_id))

    def _from_claim(self, request: XComPull) -> XComValues | None:
        """The answer, when the claim brought all of it. What is mapped may be there in part only, so it is asked."""
        elsewhere = request.dag_id not in ("", self._own.dag_id) or request.run_id not in ("", self._own.run_id)
        if elsewhere or request.include_prior_dates or not request.task_ids:
            return None
        map_index = -1 if request.map_index is None else request.map_index
        found = [self._prefetched.get((task_id, request.key, map_index)) for task_id in request.task_ids]
        values = tuple(value for value in found if value is not None and not value.blob)
        return XComValues(values=values) if len(values) == len(found) else None

    def _fetched(self, value: XComValue) -> XComValue:
        if not value.blob:
            return value
        data = bytearray()

        def write(chunk: bytes) -> None:
            if chunk:
                data.extend(chunk)
            else:
                data.clear()

        self._client.download(path_of("blobs", value.blob), write, patience_seconds=self._patience)
        if hashlib.sha256(data).hexdigest() != value.blob:
            raise InvalidInput(
                f"The XCom {value.key!r} of task {value.task_id!r} came damaged from the blob store.",
                hint="Clear the task that pushed it.",
            )
        return msgspec.structs.replace(value, value=msgspec.Raw(data), blob="")

    def _offloaded(self, value: XComValue) -> XComValue:
        data = memoryview(value.value)
        if value.blob or len(data) <= self._claim.xcom_blob_bytes:
            return value
        if len(data) > self._claim.xcom_max_bytes:
            raise InvalidInput(
                f"The XCom {value.key!r} of task {value.task_id!r} has {len(data)} bytes as JSON; "
                f"at most {self._claim.xcom_max_bytes} are kept.",
                hint="Write it to a file or a table, and push its path or name.",
            )
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._client.call("PUT", path_of("blobs", digest), Accepted, bytes(data), patience_seconds=self._patience)
        return msgspec.structs.replace(value, value=msgspec.Raw(b"null"), blob=digest)

    def _secret(self, path: str) -> SecretValue | None:
        try:
            with self._lock:
                return self._client.call("GET", path, SecretValue, patience_seconds=self._patience)
        except Refused as refused:
            if refused.status == 404 and refused.code == "not_found":
                return None
            raise

    def _plain(self, method: str, path: str, body: SecretValue | None) -> None:
        with self._lock:
            self._client.call(method, path, Accepted, body, patience_seconds=self._patience)
