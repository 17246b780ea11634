"""Statements that are compiled once say the same as those that Django builds each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from execplane.store.database import write
from execplane.store.models import Blob, LoopStatus
from execplane.store.prepared import Delete, Parameter, Select, Update

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
