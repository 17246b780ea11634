"""A false condition skips what comes after; LatestOnly does so in every run but the latest."""

from datetime import datetime

from execplane import DAG, task
from execplane.sdk.operators import BashOperator, EmptyOperator, LatestOnlyOperator, ShortCircuitOperator

with DAG("short_circuit", schedule="@hourly", start_date=datetime(2024, 1, 1), catchup=False, tags=["example"]):
    has_rows = ShortCircuitOperator(task_id="has_rows", python_callable=list)
    has_rows >> BashOperator(task_id="never", bash_command="echo not reached") >> EmptyOperator(task_id="never_either")

    direct_only = ShortCircuitOperator(
        task_id="direct_only", python_callable=lambda: False, ignore_downstream_trigger_rules=False
    )
    direct_only >> EmptyOperator(task_id="skipped") >> EmptyOperator(task_id="runs_anyway", trigger_rule="all_done")

    @task.short_circuit
    def always():
        return True

    always() >> EmptyOperator(task_id="reached")
    LatestOnlyOperator(task_id="latest_only") >> EmptyOperator(task_id="in_the_latest_run")
