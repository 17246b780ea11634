"""Two Bash tasks without a dependency, every five minutes: the DAG of the talks on the Kubernetes executor."""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash_operator import BashOperator

default_args = {
    "owner": "schnie",
    "depends_on_past": False,
    "start_date": datetime(2018, 1, 1),
    "email_on_failure": False,
    "email_on_retry": False,
    "retries": 1,
    "retry_delay": timedelta(minutes=5),
}

dag = DAG("example_dag_two", max_active_runs=3, schedule_interval=timedelta(minutes=5), default_args=default_args)

t1 = BashOperator(task_id="echo_env", bash_command="env | grep AIRFLOW_CTX | sort; sleep 2s", dag=dag)

t2 = BashOperator(task_id="print_date2", bash_command="sleep 2s; date -u", dag=dag)
