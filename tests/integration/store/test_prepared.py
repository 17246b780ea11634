"""Statements that are compiled once say the same as those that Django builds each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from execplane.store.database import write
from execplane.store.models import AttemptEvent, Blob, LoopStatus, WaitingReason
from execplane.store.prepared import Delete, Insert, Parameter, Select, SelectIn, Update, UpdateIn

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def make(name: str, at: datetime) -> LoopStatus:
    return LoopStatus.objects.create(
        process="p", name=name, version="1", state="running", started_at=at, seen_at=at, ticks=1
    )


def test_a_select_gives_djangos_values_again_and_again() -> None:
    for number in range(3):
        make(f"loop {number}", NOW + timedelta(seconds=number))
    rows = LoopStatus.objects.filter(started_at__lte=NOW + timedelta(seconds=1)).order_by("name")
    select = Select(
        lambda: (
            LoopStatus.objects.filter(started_at__lte=Parameter("until"))
            .order_by("name")
            .values_list("name", "started_at", "last_tick_at", "ticks")
        )
    )
    expected = list(rows.values_list("name", "started_at", "last_tick_at", "ticks"))
    assert len(expected) == 2
    assert select(until=NOW + timedelta(seconds=1)) == expected
    assert select(until=NOW) == expected[:1]
    assert select.first(until=NOW - timedelta(seconds=1)) is None


def test_an_update_writes_each_set_of_values_and_counts_what_it_hit() -> None:
    first, second = make("a", NOW), make("b", NOW)
    update = Update(
        lambda: LoopStatus.objects.filter(pk=Parameter("pk"), state="running"),
        last_tick_at=Parameter("at"),
        last_error=Parameter("error"),
        version="2",
    )
    with write():
        assert update(pk=first.pk, at=NOW, error="50 % of 'it' %s") == 1
        assert update(pk=0, at=NOW, error="") == 0
        update.many({"pk": pk, "at": None, "error": f"e{pk}"} for pk in (second.pk,))
        update.many(())
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.last_tick_at, first.last_error, first.version) == (NOW, "50 % of 'it' %s", "2")
    assert (second.last_tick_at, second.last_error) == (None, f"e{second.pk}")


def test_a_delete_removes_what_it_names() -> None:
    for digest in ("a", "b"):
        Blob.objects.create(sha256=digest, size_bytes=1, data=b"x", created_at=NOW)
    delete = Delete(lambda: Blob.objects.filter(sha256=Parameter("digest")))
    with write():
        assert delete(digest="a") == 1
        assert delete(digest="a") == 0
    assert [*Blob.objects.values_list("sha256", flat=True)] == ["b"]


AWKWARD = "a\t\\N\n'%s é\r\n\\\\"


@pytest.mark.parametrize("count", [0, 1, 7, 8, 300])
def test_rows_arrive_as_they_were_given_however_many_go_at_once(count: int) -> None:
    data = [None, {"a": None, "b": "\\N\t"}]
    with write():
        Insert(AttemptEvent).many(
            {"attempt_id": number, "seq": 0, "at": NOW, "actor": AWKWARD, "data": data[number % 2]}
            for number in range(count)
        )

    rows = list(AttemptEvent.objects.order_by("attempt_id"))

    assert [(row.attempt_id, row.at, row.actor, row.reason) for row in rows] == [
        (number, NOW, AWKWARD, "") for number in range(count)
    ]
    assert [row.data for row in rows] == [data[number % 2] for number in range(count)]
    assert AttemptEvent.objects.filter(data__isnull=True).count() == (count + 1) // 2


def test_bytes_arrive_as_they_were_given() -> None:
    data = bytes([0, 92, 255, 10, 9])
    with write():
        Insert(Blob).many(
            {"sha256": f"{n:064}", "codec": "zlib", "size_bytes": 5, "data": data, "created_at": NOW} for n in range(20)
        )
    assert {bytes(blob.data or b"") for blob in Blob.objects.all()} == {data}


def test_a_row_that_is_there_stays_or_is_brought_up_to_date() -> None:
    columns = {"sentence": "old", "since": NOW}
    later = {"sentence": "new", "since": NOW + timedelta(hours=1)}
    with write():
        Insert(WaitingReason).many([{"attempt_id": 1, "code": "a", **columns}])
        Insert(WaitingReason, or_ignore=True).many([{"attempt_id": 1, "code": "b", **later}])
    assert WaitingReason.objects.get().code == "a"

    with write():
        Insert(WaitingReason, or_update=("code", "sentence")).many([{"attempt_id": 1, "code": "c", **later}])
    row = WaitingReason.objects.get()
    assert (row.code, row.sentence, row.since) == ("c", "new", NOW)


def test_a_column_that_does_not_exist_is_refused() -> None:
    with write(), pytest.raises(TypeError, match="has no columns sentense"):
        Insert(WaitingReason).many([{"attempt_id": 1, "sentense": "x"}])


@pytest.mark.parametrize("count", [0, 1, 3, 256, 600])
def test_keys_are_found_and_changed_however_many_they_are(count: int) -> None:
    LoopStatus.objects.bulk_create(
        LoopStatus(process="p", name=f"{n:03}", version="1", state="running", started_at=NOW, seen_at=NOW)
        for n in range(count + 1)
    )
    pks = list(LoopStatus.objects.order_by("name").values_list("pk", flat=True))[:count]
    found = SelectIn(lambda keys: LoopStatus.objects.filter(pk__in=keys, state=Parameter("state")).values_list("pk"))
    update = UpdateIn(lambda keys: LoopStatus.objects.filter(pk__in=keys), version=Parameter("version"))

    assert sorted(found(pks, state="running")) == [(pk,) for pk in sorted(pks)]
    assert found(pks, state="stopped") == []
    with write():
        assert update(pks, version="2") == count
    assert LoopStatus.objects.filter(version="2").count() == count
