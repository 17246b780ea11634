"""What a command needs around it: Django set up, the wake bus of the running server, errors in our own words."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execplane.cli.output import remark
from execplane.contract.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from execplane.actions.actor import Actor
    from execplane.compose import Deployment

_CONF_HINT = """For example --conf '{"table": "orders"}'"""


@contextlib.contextmanager
def reading() -> Iterator[Deployment]:
    """For commands that only look. Raises Unavailable when the database does not answer or has no tables yet."""
    from execplane.compose import Deployment, setup

    deployment = Deployment(setup())
    with database_errors():
        yield deployment


@dataclass(frozen=True, kw_only=True)
class Acting:
    deployment: Deployment
    actor: Actor


@contextlib.contextmanager
def acting(*, listen: bool = False) -> Iterator[Acting]:
    """For commands that change something: what they commit wakes the running server's loops at once.

    `listen`: hear other processes' wakes, too.
    """
    with reading() as deployment:
        from execplane.actions.actor import local_operator
        from execplane.actions.unserved import serving

        with waking(deployment, listen=listen), serving(deployment.served):
            yield Acting(deployment=deployment, actor=local_operator(user_name()))


@contextlib.contextmanager
def waking(deployment: Deployment, *, listen: bool = False) -> Iterator[None]:
    """Connect to the wake bus. On PostgreSQL the transaction itself notifies, so only who listens needs the bus.

    Without the bus (home is read-only, say) the change still counts: the server sees it at its next poll.
    """
    from execplane.store.database import is_postgresql, set_publisher

    if is_postgresql() and not listen:
        yield
        return
    try:
        bus = deployment.bus
    except OSError as error:
        remark(f"The running server is not woken ({error.strerror}); it sees the change at its next poll.")
        yield
        return
    try:
        yield
    finally:
        set_publisher(None)
        if bus.transport is not None:
            bus.transport.close()


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """A database error as Unavailable, with what to do."""
    from django.db import DatabaseError, InterfaceError, ProgrammingError

    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        # PostgreSQL says "does not exist" of a whole database, too, and then it is the connection that failed.
        missing = "does not exist" in text and isinstance(error, ProgrammingError)
        if missing or "no such table" in text or "no such column" in text:
            raise Unavailable(
                f"The database does not have this version's tables: {text}.",
                hint="`execplane migrate` makes them (`execplane standalone` does so by itself).",
            ) from error
        if "unable to open database file" in text:
            raise Unavailable(
                f"The database file cannot be opened: {text}.",
                hint="SQLite writes beside its file even to read it: file and folder must be writable by this user.",
            ) from error
        if "readonly" in text or "read-only" in text:
            raise Unavailable(
                f"The database cannot be written: {text}.",
                hint="Make its disk and folder writable (EXECPLANE_HOME, EXECPLANE_DATABASE_URL), then start again.",
            ) from error
        raise Unavailable(
            f"The database does not answer: {text}.", hint="`execplane status` tells which part is down."
        ) from error


def user_name() -> str:
    """Who runs this command; a container may have no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def parse_conf(text: str | None) -> dict[str, Any]:
    """The conf of a run: JSON, or @FILE. Raises InvalidInput."""
    if not text:
        return {}
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except OSError as error:
            raise InvalidInput(f"The conf file {text[1:]} cannot be read: {error.strerror}.") from None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"The conf is not JSON: {error}.", hint=_CONF_HINT) from None
    if not isinstance(value, dict):
        raise InvalidInput("A run's conf is a JSON object.", hint=_CONF_HINT)
    return value


def parse_date(text: str | None) -> datetime | None:
    """An ISO 8601 date, with a zone or in UTC. Raises InvalidInput."""
    if not text:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a date.", hint="For example 2025-03-01T12:00:00+00:00.") from None
    from datetime import UTC

    return date if date.tzinfo else date.replace(tzinfo=UTC)
