"""Flight records in the ledger: one an attempt, with the times that only they tell, kept for their time only."""

from __future__ import annotations

from datetime import timedelta

from execplane.contract.flight import Flight, pack
from execplane.contract.loops import NOW
from execplane.contract.observations import Recorded
from execplane.loops import retention as loop
from execplane.store.models import Attempt, Blob, FlightRecord
from execplane.store.queries.flights import flight_of
from execplane.store.retention import forget_flight_records
from execplane.store.transitions import recording
from tests.integration.store.conftest import Ledger


def record(ledger: Ledger, attempt_id: int, text: str = "", **times: object) -> Recorded:
    flight = Flight(
        attempt_id=attempt_id, captured_at=ledger.now, namespace="ns", pod_name="p", uid="u", unread=(text,)
    )
    return Recorded(attempt_id=attempt_id, at=ledger.now, body=pack(flight), **times)  # type: ignore[arg-type]


def test_the_first_record_of_an_attempt_stays_and_a_later_one_leaves_nothing_behind(ledger: Ledger) -> None:
    blobs = Blob.objects.count()
    recording.keep([record(ledger, 1, "first")], now=ledger.now)

    recording.keep([record(ledger, 1, "after a restart"), record(ledger, 2)], now=ledger.now)

    found = flight_of(1)
    assert found is not None
    assert found.unread == ("first",)
    assert FlightRecord.objects.count() == 2
    assert Blob.objects.count() == blobs + 2


def test_a_record_is_compressed_once(ledger: Ledger) -> None:
    fact = record(ledger, 1, "x" * 10_000)
    recording.keep([fact], now=ledger.now)
    assert bytes(Blob.objects.get(sha256=FlightRecord.objects.get().blob_sha256).data or b"") == fact.body


def test_a_record_fills_the_times_that_nobody_told_and_changes_none_that_is_known(ledger: Ledger) -> None:
    attempt = ledger.queue()
    told, known = ledger.now + timedelta(seconds=5), ledger.now + timedelta(seconds=9)
    Attempt.objects.filter(pk=attempt.pk).update(started_at=known, node="n1")

    recording.keep([record(ledger, attempt.pk, pulled_at=told, started_at=told, node="n2")], now=ledger.now)

    row = ledger.attempt()
    assert (row.pulled_at, row.started_at, row.scheduled_at) == (told, known, None)
    assert (row.node, row.image_digest, row.state) == ("n1", "", "queued")


def test_old_records_go_in_batches_and_take_their_contents_along(ledger: Ledger) -> None:
    blobs = Blob.objects.count()
    recording.keep([record(ledger, number) for number in range(1, 6)], now=ledger.now)
    ledger.clock.advance(3600)
    recording.keep([record(ledger, 9)], now=ledger.now)

    assert forget_flight_records(before=ledger.now, limit=3) == 3
    assert forget_flight_records(before=ledger.now, limit=3) == 2
    assert forget_flight_records(before=ledger.now, limit=3) == 0

    assert flight_of(1) is None
    assert flight_of(9) is not None
    assert Blob.objects.count() == blobs + 1


def test_the_loop_goes_on_at_once_while_there_is_more_and_then_rests(ledger: Ledger) -> None:
    recording.keep([record(ledger, number) for number in range(1, 503)], now=ledger.now)
    one = loop.RetentionLoop(flight_records=timedelta(days=30))
    assert one.tick(ledger.now) != NOW
    assert FlightRecord.objects.count() == 502

    ledger.clock.advance(31 * 86400)

    assert one.tick(ledger.now) == NOW
    after = one.tick(ledger.now)
    assert FlightRecord.objects.count() == 0
    assert after.at == ledger.now + timedelta(hours=1)
