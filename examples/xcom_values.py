"""XComs: plain values, dates, bytes, dataclasses, and a large one that goes to the blob store by itself."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from execplane import DAG, task


@dataclass
class Order:
    number: int
    amount: Decimal
    at: datetime


with DAG("xcom_values", schedule=None, start_date=datetime(2024, 1, 1), tags=["example", "xcom"]):

    @task
    def make_order():
        return Order(number=7, amount=Decimal("12.30"), at=datetime(2024, 1, 1, tzinfo=UTC))

    @task
    def make_large():
        return "x" * 2_000_000

    @task
    def make_bytes(ti=None):
        ti.xcom_push(key="age", value=timedelta(days=3))
        return b"\x00\x01\xff"

    @task
    def check(order: Order, large: str, raw: bytes, age: timedelta):
        assert order.amount == Decimal("12.30"), order
        assert len(large) == 2_000_000
        assert raw == b"\x00\x01\xff"
        assert age == timedelta(days=3)
        return {"order": order.number, "length": len(large)}

    raw = make_bytes()
    check(make_order(), make_large(), raw, raw["age"])
