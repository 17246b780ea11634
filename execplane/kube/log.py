"""A pod's log, raw: what the kubelet kept, or line by line as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from urllib3.exceptions import HTTPError

from execplane.kube.client import Client, pod_path
from execplane.kube.errors import AnswerLost


def read_log(
    client: Client,
    namespace: str,
    pod: str,
    *,
    container: str = "base",
    tail_lines: int | None = None,
    limit_bytes: int | None = None,
    since: datetime | None = None,
    timestamps: bool = False,
    previous: bool = False,
    timeout_seconds: float | None = None,
) -> bytes:
    """What there is now. Raises NotFound without the pod, BadRequest while the container has not started."""
    query = _query(container, tail_lines, limit_bytes, since, timestamps)
    if previous:
        query.append(("previous", "true"))
    path = pod_path(namespace, pod) + "/log"
    return client.request("GET", path, query=query, timeout_seconds=timeout_seconds)


def follow_log(
    client: Client,
    namespace: str,
    pod: str,
    *,
    container: str = "base",
    tail_lines: int | None = None,
    since: datetime | None = None,
    timestamps: bool = False,
    silence_seconds: float = 300.0,
) -> Iterator[bytes]:
    """Lines (without their newline) until the container ends or the caller stops reading.

    Raises AnswerLost when the connection breaks, or nothing comes for `silence_seconds`: a quiet task is no error,
    call again with `since`.
    """
    query = [*_query(container, tail_lines, None, since, timestamps), ("follow", "true")]
    path = pod_path(namespace, pod) + "/log"
    pending = b""
    with client.stream(path, query=query, silence_seconds=silence_seconds) as response:
        try:
            for chunk in response.stream(1 << 16, decode_content=False):
                *lines, pending = (pending + chunk).split(b"\n")
                yield from lines
        except (HTTPError, OSError) as error:
            raise AnswerLost(f"log of {namespace}/{pod}: the stream broke ({type(error).__name__}).") from error
    if pending:
        yield pending


def _query(
    container: str,
    tail_lines: int | None,
    limit_bytes: int | None,
    since: datetime | None,
    timestamps: bool,
) -> list[tuple[str, str]]:
    query = [("container", container)]
    if tail_lines is not None:
        query.append(("tailLines", str(tail_lines)))
    if limit_bytes is not None:
        query.append(("limitBytes", str(limit_bytes)))
    if since is not None:
        query.append(("sinceTime", since.strftime("%Y-%m-%dT%H:%M:%SZ")))
    if timestamps:
        query.append(("timestamps", "true"))
    return query
