"""Write transactions: one way in, so that SQLite's single writer queues fairly and wakes go out on commit.

On SQLite each transaction is IMMEDIATE, and a process-wide lock keeps our own threads from polling SQLite's busy
handler, which sleeps and is unfair. Other processes still meet the busy timeout.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from execplane.contract.errors import Unavailable

log = logging.getLogger(__name__)

NOTIFY_CHANNEL = "execplane"
_NOTIFY_LIMIT_BYTES = 7900
"""PostgreSQL refuses payloads of 8,000 bytes and more."""

_sqlite_writer = threading.RLock()
_pending = threading.local()
_publisher: Callable[[Sequence[str]], None] | None = None
_origin = ""


def set_publisher(publisher: Callable[[Sequence[str]], None] | None, origin: str = "") -> None:
    """Who is told the topics of committed transactions; `origin` marks our own notifications on PostgreSQL."""
    global _publisher, _origin
    _publisher, _origin = publisher, origin


def is_postgresql() -> bool:
    return bool(connection.vendor == "postgresql")


def nudge(*topics: str) -> None:
    """Wake whoever listens to `topics` once the present `write()` commits. A nudge carries no data."""
    _pending.topics.update(dict.fromkeys(topics))


def afterwards(work: Callable[[], None]) -> None:
    """Have `work` done in a `write()` of its own once the present one has committed.

    For rows that may not be locked beside those that are held already. When it fails, or we die before, it is not
    done: only for what a safety net does in the end.
    """
    _pending.afterwards.append(work)


@contextmanager
def write() -> Iterator[None]:
    """A write transaction; nested calls join the outer one. Nothing in it may talk to the network.

    Raises Unavailable when the database does not answer (nothing was written, or, when the answer to COMMIT was
    lost, everything was: so each caller's writes are compare-and-set and may be repeated).
    """
    if getattr(_pending, "depth", 0):
        yield
        return
    _pending.depth, _pending.topics, _pending.afterwards = 1, {}, []
    topics: list[str] = []
    works: list[Callable[[], None]] = []
    try:
        with _serialised(), transaction.atomic():
            yield
            topics, works = list(_pending.topics), list(_pending.afterwards)
            if topics and is_postgresql():
                _notify(topics)
    except (OperationalError, InterfaceError) as error:
        connection.close()
        raise Unavailable(
            f"The database did not take the change: {str(error).splitlines()[0] if str(error) else 'no answer'}.",
            hint="Loops and workers try again by themselves; repeat a command once `execplane status` finds no fault.",
        ) from error
    finally:
        _pending.depth = 0
        _pending.topics = {}
        _pending.afterwards = []
    if topics and _publisher is not None:
        _publisher(topics)
    for work in works:
        _do_afterwards(work)


def _do_afterwards(work: Callable[[], None]) -> None:
    try:
        with write():
            work()
    except Exception:
        # What was asked for is committed: its caller must not take it for failed.
        log.exception("what follows a change was not done, and is left to the safety net")


@contextmanager
def _serialised() -> Iterator[None]:
    if is_postgresql():
        yield
    else:
        with _sqlite_writer:
            yield


def _notify(topics: Sequence[str]) -> None:
    """One notification a transaction; too many topics become "*", which wakes everybody."""
    payload = msgspec.json.encode([_origin, *topics])
    if len(payload) > _NOTIFY_LIMIT_BYTES:
        payload = msgspec.json.encode([_origin, "*"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [NOTIFY_CHANNEL, payload.decode()])


def is_outage(error: BaseException) -> bool:
    """Whether the error means that the database did not answer, and not a fault of what was asked."""
    return isinstance(error, (Unavailable, OperationalError, InterfaceError))


def mend_connection() -> None:
    """After an error in a loop's thread: a connection that no longer works is closed, and the next query opens one."""
    if connection.in_atomic_block:
        return
    if connection.errors_occurred and not is_postgresql():
        connection.close()  # Django holds every SQLite connection to be usable, and a new one costs nothing.
    else:
        connection.close_if_unusable_or_obsolete()


def close_connection() -> None:
    """This thread is done with the database."""
    if not connection.in_atomic_block:
        connection.close()


def database_now() -> datetime:
    """The database's clock: leases compare with nothing else. On SQLite that is this machine's."""
    sql = "SELECT clock_timestamp()" if is_postgresql() else "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        value = cursor.fetchone()[0]
    return value if isinstance(value, datetime) else datetime.fromisoformat(value + "+00:00")


def reachable() -> str:
    """ "" when the database answers; else one sentence."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        connection.close()
        return f"The database does not answer: {str(error).splitlines()[0]}."
    return ""
