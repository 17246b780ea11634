"""Verbs on launches: hold them, release a hold, end their waves. What runs is touched by none of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from execplane.actions import unserved
from execplane.actions.actor import Actor, demand
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict, InvalidInput, NotFound
from execplane.contract.launch_holds import LaunchHold, Scope
from execplane.store import launch_hold_rows, launch_wave_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.queries import dags

_CLOCK = SystemClock()
MOST_NAME = 250
MOST_REASON = 500
_TIMES = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?")
_EXAMPLES = "For example 30m, 2h, 1d12h, or 2026-03-01T12:00:00+00:00; leave it out to hold until somebody releases it."
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def hold(
    actor: Actor, scope: str, name: str = "", reason: str = "", until: str = "", *, clock: Clock = _CLOCK
) -> LaunchHold:
    """Nothing in this scope is launched any more until then, or until somebody releases it. Raises InvalidInput,
    NotFound (no such DAG, tag or executor), Conflict (as many holds count as may).

    `until`: as `moment` reads it. Lost answers: repeated with the same words and the same moment it makes no second
    one.
    """
    demand(actor, "hold launches")
    now = clock.now()
    wanted, name = _scope(scope), name.strip()
    _check_name(wanted, name)
    if not reason.strip() or len(reason) > MOST_REASON:
        hint = "It is shown on everything that waits for it."
        raise InvalidInput(f"A launch hold needs a reason of at most {MOST_REASON} characters.", hint=hint)
    ends = moment(until, now)
    if ends is not None and ends <= now:
        raise InvalidInput(f"The hold would have ended already, at {ends:%Y-%m-%d %H:%M:%S} UTC.", hint=_EXAMPLES)
    with write():
        pk = launch_hold_rows.add(wanted, name, reason.strip(), author=actor.name, until=ends, now=now)
        if pk is None:
            most = launch_hold_rows.MOST_ACTIVE
            raise Conflict(f"{most} launch holds count already, which is the most.", hint="Release one of them first.")
        made = launch_hold_rows.get(pk).hold
        said = {"scope": wanted, "name": name, "reason": reason.strip(), "until": str(ends) if ends else ""}
        audit(actor.name, "hold", f"hold:{pk}", after=said, now=now)
    return made


def release(actor: Actor, hold_id: int, *, clock: Clock = _CLOCK) -> LaunchHold:
    """Let launch again what only this hold kept. Raises NotFound, Conflict (it has ended).

    Lost answers: repeated it raises Conflict, and who ended it stands in the row.
    """
    demand(actor, "release launch holds")
    now = clock.now()
    with write():
        row = launch_hold_rows.get(hold_id)
        if not launch_hold_rows.end(hold_id, by=actor.name, now=now):
            by = f" by {row.ended_by}" if row.ended_by else " by itself"
            raise Conflict(f"The launch hold {hold_id} has ended already{by}.", hint="Nothing is left to be released.")
        before = {"scope": row.hold.scope, "name": row.hold.name, "reason": row.hold.reason}
        audit(actor.name, "release", f"hold:{hold_id}", before=before, now=now)
    return row.hold


def launch_all(actor: Actor, executor: str, *, clock: Clock = _CLOCK) -> None:
    """End the executor's waves: all that waits may go at once. Raises Conflict where there is no wave.

    To stop them instead, hold the executor. Lost answers: repeated it raises Conflict, and nothing is changed.
    """
    demand(actor, "end launch waves")
    with write():
        row = launch_wave_rows.wave(executor)
        if row is None:
            raise Conflict(f"The launches of the executor {executor} do not go out in waves.", hint="They all may go.")
        launch_wave_rows.end(executor)
        before = {"cause": row.cause, "wave": row.number, "launched": row.before + row.launched, "total": row.total}
        audit(actor.name, "launch all", f"waves:{executor}", before=before, now=clock.now())


def moment(text: str, now: datetime) -> datetime | None:
    """A time from now ("90m", "1d12h") or a date with its zone, else in UTC; None for "". Raises InvalidInput."""
    text = text.strip()
    if not text:
        return None
    if found := _TIMES.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return now + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text[:60]!r} says no time.", hint=_EXAMPLES) from None


def _scope(text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:60]!r} is nothing that can be held.", hint=f"There are: {', '.join(Scope)}."
        ) from None


def _check_name(scope: Scope, name: str) -> None:
    """A hold that covers nothing because of a slip would be believed."""
    what = scope.replace("_", " ")
    if scope is Scope.ALL:
        if name:
            raise InvalidInput("A hold of all launches has no name.", hint="Leave the name out, or say what it names.")
        return
    if not name or len(name) > MOST_NAME:
        raise InvalidInput(f"Which {what}? Its name has 1 to {MOST_NAME} characters.")
    if scope is Scope.NAMESPACE and not _DNS_LABEL.fullmatch(name):
        raise InvalidInput(f"{name[:63]!r} is no name that a namespace can have.")
    if (served := unserved.served()) is not None:
        known = {Scope.EXECUTOR: served.executors, Scope.CLUSTER: served.clusters}.get(scope, (name,))
        if name not in known:
            there_are = f"There are: {', '.join(known)}." if known else "It names none: hold its executor instead."
            raise NotFound(f"This deployment has no {what} {name}.", hint=there_are)
    if scope is Scope.DAG:
        dags.get_dag(name, recent=1)
    if scope is Scope.DAG_TAG and not launch_hold_rows.tag_exists(name):
        raise NotFound(f"No DAG has the tag {name}.", hint="Tags are written as in the DAG file, capitals included.")
