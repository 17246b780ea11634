"""Jinja: Airflow's context and macros, a template file beside the DAG, Variables, the AIRFLOW_CTX_* environment."""

from datetime import datetime

from execplane import DAG
from execplane.sdk.operators import BashOperator, PythonOperator


def show(templates_dict, ds_nodash):
    print(ds_nodash)
    print(templates_dict["query"])


with DAG(
    "templates",
    schedule="@daily",
    start_date=datetime(2024, 1, 1),
    catchup=False,
    params={"table": "orders"},
    user_defined_macros={"shout": lambda text: text.upper() + "!"},
    tags=["example"],
):
    BashOperator(
        task_id="dates",
        bash_command=(
            "echo {{ ds }} {{ macros.ds_add(ds, 7) }} {{ logical_date.year }} {{ shout('done') }}; "
            "echo from the environment: $AIRFLOW_CTX_DAG_ID $AIRFLOW_CTX_TRY_NUMBER"
        ),
    )
    PythonOperator(
        task_id="template_file",
        python_callable=show,
        templates_dict={"query": "sql/daily_orders.sql"},
        templates_exts=[".sql"],
    )
    BashOperator(task_id="variable", bash_command="echo {{ var.value.get('greeting', 'no greeting') }}")
