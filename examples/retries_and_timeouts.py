"""Retries with growing delays, a timeout, callbacks, and a pool."""

from datetime import datetime, timedelta

from execplane import DAG, get_current_context, task
from execplane.sdk.operators import BashOperator


def tell(context):
    print("callback of", context["task_instance"].task_id, "-", context.get("exception"))


with DAG("retries_and_timeouts", schedule=None, start_date=datetime(2024, 1, 1), tags=["example"]):

    @task(
        retries=3,
        retry_delay=timedelta(seconds=2),
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(seconds=10),
        on_retry_callback=tell,
        on_success_callback=tell,
    )
    def third_time_lucky():
        tries = get_current_context()["ti"].try_number
        if tries < 3:
            raise RuntimeError(f"try {tries} is too early")
        return tries

    third_time_lucky()
    BashOperator(
        task_id="too_slow",
        bash_command="sleep 30",
        execution_timeout=timedelta(seconds=2),
        on_failure_callback=tell,
        priority_weight=5,
        weight_rule="absolute",
    )
