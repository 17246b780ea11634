"""Names that nobody chose for a narrow column, and graphs that are higher or wider than what shows them."""

from __future__ import annotations

from datetime import UTC, datetime

from execplane import DAG, task
from execplane.sdk.operators.bash import BashOperator
from execplane.sdk.operators.empty import EmptyOperator

LONG = "a_dag_with_an_extraordinarily_long_name_that_a_picky_user_may_have_because_their_company_likes_it_so"

with DAG(
    LONG,
    schedule=None,
    tags=["a-very-long-tag-name-of-a-team-at-a-firm", "sales"],
    description="A long description. " * 20,
):
    first = BashOperator(task_id="first_task_with_a_long_name_number_001", bash_command="true")

    @task
    def told() -> dict[str, object]:
        return {"at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "key": b"\x00\x01\xff", "parts": (1, 2)}

    first >> told()

with DAG("column", schedule=None):
    EmptyOperator(task_id="start") >> [EmptyOperator(task_id=f"on_none_failed_min_one_{n:02}") for n in range(12)]

with DAG("crowd", schedule=None):
    for number in range(60):
        EmptyOperator(task_id=f"task_{number:02}")
