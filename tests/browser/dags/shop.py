"""What the browser tests look at: groups, mapping, params, a failure, a long log, a slow task."""

from __future__ import annotations

import time

from execplane import DAG, Param, task, task_group
from execplane.sdk.operators.bash import BashOperator

with DAG(
    "shop",
    schedule=None,
    tags=["sales"],
    description="Counts what was sold",
    doc_md="# Shop\n\n| what | who |\n|---|---|\n| orders | *ada* |\n\n![flow](https://example.com/flow.png)\n",
    params={
        "limit": Param(10, type="integer", minimum=1, maximum=100),
        "region": Param("eu", enum=["eu", "us"]),
    },
):
    start = BashOperator(task_id="start", bash_command="printf '\\033[31mred\\033[0m plain\\n'")

    @task
    def count(number: int) -> int:
        return number * 2

    @task_group
    def check() -> None:
        BashOperator(task_id="sums", bash_command="echo sums") >> BashOperator(task_id="limits", bash_command="true")

    start >> count.expand(number=[1, 2, 3]) >> check()

with DAG("fails", schedule=None):
    BashOperator(task_id="broken", bash_command="echo about to fail; exit 3") >> BashOperator(
        task_id="after", bash_command="true"
    )

with DAG("long", schedule=None):

    @task
    def talk() -> None:
        for number in range(6000):
            print(f"line number {number} of many")

    talk()

with DAG("slow", schedule=None):

    @task
    def tick() -> None:
        for number in range(600):
            print(f"tick {number}", flush=True)
            time.sleep(0.2)

    tick()
