"""Two Bash tasks, one after the other: the thinnest DAG that shows the whole length."""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("two_bash_tasks", schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 0}) as dag:
    hello = BashOperator(task_id="hello", bash_command="echo hello from attempt {{ ti.try_number }}")
    again = BashOperator(
        task_id="again",
        bash_command="echo \"and again, after: {{ ti.xcom_pull(task_ids='hello') }}\"",
        execution_timeout=timedelta(minutes=2),
    )
    hello >> again
