"""Leases: one holder at a time, by the database's clock; whoever slept through its lease does not act."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from execplane.contract.clock import SystemClock
from execplane.contract.errors import Unavailable
from execplane.contract.loops import IDLE, Next
from execplane.loops.leases import LeaseKeeper
from execplane.loops.supervisor import Runner, Supervisor
from execplane.loops.wake import WakeBus
from execplane.store.database import database_now, is_postgresql, set_publisher, write
from execplane.store.models import Lease
from tests.conftest import TestClock
from tests.integration.deployment_part import lines, logs, process
from tests.parts.eventually import eventually


def keeper(holder: str, clock: TestClock, seconds: float = 10.0) -> LeaseKeeper:
    return LeaseKeeper(name="driver", holder=holder, clock=clock, seconds=seconds)


def expire() -> None:
    """The database's clock goes on."""
    Lease.objects.update(expires_at=database_now() - timedelta(seconds=1))


class Counting:
    name = "driver"
    topics: frozenset[str] = frozenset()
    leased = True
    poll_seconds = 60.0

    def __init__(self) -> None:
        self.ticks = 0
        self.closed = 0
        self.error: Exception | None = None
        self.threads: set[int] = set()

    def tick(self, now: datetime) -> Next:
        if self.error is not None:
            raise self.error
        self.ticks += 1
        self.threads.add(threading.get_ident())
        return IDLE

    def close(self) -> None:
        self.closed += 1


@pytest.mark.django_db
def test_a_held_lease_is_refused_to_others_and_renewed_for_its_holder(clock: TestClock) -> None:
    one, other = keeper("one", clock), keeper("other", clock)

    assert one.acquire()
    assert not other.acquire()
    clock.advance(5)
    assert one.acquire()

    assert (one.token, Lease.objects.get().holder) == (1, "one")


@pytest.mark.django_db
def test_the_token_grows_with_every_holder_and_never_with_a_renewal(clock: TestClock) -> None:
    one, other = keeper("one", clock), keeper("other", clock)
    tokens = []
    for taker in (one, one, other, one):
        assert taker.acquire()
        tokens.append(taker.token)
        if taker is not one or len(tokens) != 1:
            expire()

    assert tokens == [1, 1, 2, 3]


@pytest.mark.django_db
def test_the_machines_clock_does_not_matter_to_who_holds_it(clock: TestClock) -> None:
    one, other = keeper("one", clock), keeper("other", clock)
    assert one.acquire()
    clock.advance(86_400)

    assert not other.acquire()
    expire()
    assert other.acquire()


@pytest.mark.django_db
def test_the_holder_thinks_it_lost_the_lease_before_the_database_does(clock: TestClock) -> None:
    one = keeper("one", clock)
    before = clock.monotonic()
    one.acquire()

    assert one.held()
    clock.seconds = before + 10.0
    assert not one.held()
    assert Lease.objects.get().expires_at > database_now()


@pytest.mark.django_db
def test_a_lease_that_was_given_back_is_free_at_once(clock: TestClock) -> None:
    one, other = keeper("one", clock), keeper("other", clock)
    one.acquire()

    one.release()

    assert not one.held()
    assert other.acquire()
    one.release()
    assert Lease.objects.get().holder == "other"


@pytest.mark.django_db
def test_a_loop_that_loses_its_lease_is_closed_and_stands_by(clock: TestClock) -> None:
    loop = Counting()
    runner = Runner(loop=loop, clock=clock, bus=WakeBus(), lease=keeper("one", clock))
    runner.step()
    expire()
    keeper("other", clock).acquire()
    clock.advance(11)  # longer than the lease: `held` says no already when it asks again

    runner.step()

    assert (loop.ticks, loop.closed, runner.report.state) == (1, 1, "standby")


@pytest.mark.django_db
def test_a_loop_whose_lease_was_lost_and_won_again_begins_anew(clock: TestClock) -> None:
    loop = Counting()
    runner = Runner(loop=loop, clock=clock, bus=WakeBus(), lease=keeper("one", clock))
    runner.step()
    expire()
    other = keeper("other", clock)
    other.acquire()
    other.release()
    clock.advance(11)

    runner.step()

    assert (loop.ticks, loop.closed, runner.report.lease_token) == (2, 1, 3)


@pytest.mark.django_db
def test_a_loop_goes_on_after_errors_and_shows_them(clock: TestClock, caplog: pytest.LogCaptureFixture) -> None:
    loop = Counting()
    runner = Runner(loop=loop, clock=clock, bus=WakeBus())
    runner.stop()  # no back-off is waited for
    loop.error = Unavailable("The database is gone.")
    runner.step()
    assert (runner.report.state, runner.report.errors) == ("failing", 1)
    assert "The database is gone." in runner.report.last_error
    loop.error = None

    runner.step()

    assert (loop.ticks, runner.report.state) == (1, "running")


@pytest.fixture
def bus() -> Iterator[WakeBus]:
    found = WakeBus()
    set_publisher(found.publish, found.origin)
    yield found
    set_publisher(None)


@pytest.mark.django_db(transaction=True)
def test_a_clean_stop_hands_over_at_once(bus: WakeBus) -> None:
    clock = SystemClock()
    loops = [Counting(), Counting()]
    supervisors = []
    for loop, holder in zip(loops, ("one", "other"), strict=True):
        lease = LeaseKeeper(name="driver", holder=holder, clock=clock, seconds=600.0)
        supervisors.append(Supervisor([Runner(loop=loop, clock=clock, bus=bus, lease=lease)]))
        supervisors[-1].start()
        eventually(lambda: loops[0].ticks, 10)
    eventually(lambda: supervisors[1].reports()[0].state == "standby", 10)
    began = clock.monotonic()

    supervisors[0].stop()

    eventually(lambda: loops[1].ticks, 10, interval_seconds=0.01)
    assert clock.monotonic() - began < 1.5, "the standby was not woken but polled"
    supervisors[1].stop()


@pytest.mark.django_db(transaction=True)
def test_a_process_that_slept_through_its_lease_does_not_act(tmp_path: Path) -> None:
    clock = SystemClock()
    heir = LeaseKeeper(name="acting", holder="heir", clock=clock, seconds=60.0)
    with process("holder", tmp_path) as holder:
        eventually(lambda: len(lines(tmp_path, "acts")) > 3, on_failure=lambda: logs(tmp_path))
        assert not heir.acquire()
        os.kill(holder.pid, signal.SIGSTOP)
        eventually(heir.acquire, interval_seconds=0.2)
        taken_over = clock.monotonic()

        os.kill(holder.pid, signal.SIGCONT)

        eventually(lambda: lines(tmp_path, "closes"), on_failure=lambda: logs(tmp_path))
        # One act may have been under way when it fell asleep; none was begun after the heir had the lease.
        assert max(line["checked"] for line in lines(tmp_path, "acts")) < taken_over
        heir.release()
        eventually(lambda: lines(tmp_path, "acts")[-1]["token"] == 3, on_failure=lambda: logs(tmp_path))


@pytest.mark.django_db(transaction=True)
def test_a_loops_dead_connection_is_replaced_after_an_error() -> None:
    clock = SystemClock()
    identities: list[Any] = []

    class Asking(Counting):
        leased = False
        poll_seconds = 0.05

        def tick(self, now: datetime) -> Next:
            with connection.cursor() as cursor:
                if is_postgresql():
                    cursor.execute("SELECT pg_backend_pid()")
                    identities.append(cursor.fetchone()[0])
                else:
                    cursor.execute("SELECT 1")
                    identities.append(connection.connection)
                    if len(identities) == 1:
                        # SQLite has nobody who could cut it: what Django sees of an outage is such an error.
                        connection.connection.close()
            return super().tick(now)

    loop = Asking()
    runner = Runner(loop=loop, clock=clock, bus=WakeBus())
    supervisor = Supervisor([runner])
    supervisor.start()
    eventually(lambda: identities, 10)
    if is_postgresql():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [identities[0]])
    eventually(lambda: runner.report.errors >= 1 and runner.report.state == "running", 20)
    assert set(identities) != {identities[0]}
    supervisor.stop()


@pytest.mark.django_db(transaction=True)
def test_a_write_that_the_database_does_not_take_is_unavailable_and_the_next_one_goes_through() -> None:
    def cut_off() -> None:
        with write():
            Lease.objects.create(name="x", holder="h", expires_at=database_now())
            raise OperationalError("server closed the connection unexpectedly")

    with pytest.raises(Unavailable, match="did not take the change"):
        cut_off()

    assert not Lease.objects.exists()
    with write():
        Lease.objects.create(name="x", holder="h", expires_at=database_now())
    assert Lease.objects.exists()
