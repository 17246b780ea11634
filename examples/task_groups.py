"""Task groups: ids with a prefix, nested, with defaults of their own, and as ends of edges."""

from datetime import datetime

from execplane import DAG, TaskGroup, chain, cross_downstream, task, task_group
from execplane.sdk import Label
from execplane.sdk.operators import EmptyOperator

with DAG("task_groups", schedule=None, start_date=datetime(2024, 1, 1), tags=["example"]):
    start, end = EmptyOperator(task_id="start"), EmptyOperator(task_id="end")

    with TaskGroup("extract", tooltip="From three sources", default_args={"retries": 2}) as extract:
        sources = [EmptyOperator(task_id=name) for name in ("orders", "users")]
        with TaskGroup("slow", prefix_group_id=True):
            EmptyOperator(task_id="ledger")

    @task_group
    def load(text: str):
        """Writes what was extracted."""

        @task
        def write(value: str):
            return value.upper()

        @task
        def check(value: str):
            return value.isupper()

        return check(write(text))

    loaded = load("rows")
    start >> Label("every night") >> extract >> loaded >> end

    left = [EmptyOperator(task_id=f"left_{number}") for number in range(2)]
    right = [EmptyOperator(task_id=f"right_{number}") for number in range(2)]
    cross_downstream(left, right)
    chain(start, left)
