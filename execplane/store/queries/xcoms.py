"""XComs of a task instance, as a page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from execplane.contract.errors import NotFound
from execplane.store.models import XCom

SHOWN_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class XComRow:
    """`text` is the codec's bytes, cut at `SHOWN_BYTES`; None for what is kept in the blob store."""

    key: str
    attempt_no: int
    codec: str
    size_bytes: int
    blob_sha256: str
    text: str | None
    cut: bool
    at: datetime


def xcoms_of(ti_pk: int, limit: int = 200) -> tuple[XComRow, ...]:
    """A task instance's XComs by key (index: xcom_once)."""
    return tuple(_row(row) for row in XCom.objects.filter(ti=ti_pk).order_by("key")[:limit])


@dataclass(frozen=True, kw_only=True)
class XComValue:
    """The codec's bytes whole, or None and the blob that has them."""

    value: bytes | None
    blob_sha256: str


def value_of(ti_pk: int, key: str) -> XComValue:
    """One XCom as it was pushed (index: xcom_once). Raises NotFound."""
    row = XCom.objects.filter(ti=ti_pk, key=key).values_list("value", "blob_sha256").first()
    if row is None:
        raise NotFound(f"The task has no XCom {key}.", hint="Clearing a task deletes what it had pushed.")
    return XComValue(value=None if row[0] is None else bytes(row[0]), blob_sha256=row[1])


def _row(row: XCom) -> XComRow:
    raw = bytes(row.value) if row.value is not None else None
    return XComRow(
        key=row.key,
        attempt_no=row.attempt_no,
        codec=row.codec,
        size_bytes=row.size_bytes or len(raw or b""),
        blob_sha256=row.blob_sha256,
        text=raw[:SHOWN_BYTES].decode("utf-8", errors="replace") if raw is not None else None,
        cut=raw is not None and len(raw) > SHOWN_BYTES,
        at=row.at,
    )
