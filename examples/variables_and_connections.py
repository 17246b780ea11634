"""Variables and Connections: read at the top of the file, in a template, and in a task.

execplane variables set region north
execplane connections set warehouse postgres://reader:secret@warehouse.example:5432/sales
"""

from datetime import datetime

from execplane import DAG, task
from execplane.sdk import BaseHook, Variable
from execplane.sdk.exceptions import AirflowNotFoundException
from execplane.sdk.operators import BashOperator

REGION = Variable.get("region", default_var="nowhere")

with DAG("variables_and_connections", schedule=None, start_date=datetime(2024, 1, 1), tags=["example"]):
    BashOperator(task_id="top_of_the_file", bash_command=f"echo the region is {REGION}")
    BashOperator(task_id="template", bash_command="echo the region is {{ var.value.get('region', 'nowhere') }}")

    @task
    def connection():
        try:
            found = BaseHook.get_connection("warehouse")
        except AirflowNotFoundException:
            print("There is no Connection named warehouse.")
        else:
            print(
                f"{found.conn_type} at {found.host}:{found.port}, as {found.login} with the password {found.password}"
            )

    connection()
