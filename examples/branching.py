"""A branch chooses one of two ways; the join runs when nothing failed and one way succeeded."""

from datetime import datetime

from execplane import DAG, task
from execplane.sdk.operators import BranchPythonOperator, EmptyOperator

with DAG("branching", schedule=None, start_date=datetime(2024, 1, 1), tags=["example"], params={"way": "fast"}):

    @task.branch
    def choose(params=None):
        return f"{params['way']}_way"

    fast, slow = EmptyOperator(task_id="fast_way"), EmptyOperator(task_id="slow_way")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    choose() >> [fast, slow] >> join

    weekday = BranchPythonOperator(
        task_id="weekday_or_weekend",
        python_callable=lambda data_interval_start: "weekend" if data_interval_start.weekday() > 4 else "weekday",
    )
    weekday >> [EmptyOperator(task_id="weekday"), EmptyOperator(task_id="weekend")]
