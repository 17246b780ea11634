"""Sensors in both modes: "poke" waits in its process, "reschedule" gives its slot back between looks."""

from datetime import datetime, timedelta
from pathlib import Path

from execplane import DAG, task
from execplane.sdk import PokeReturnValue
from execplane.sdk.operators import BashOperator
from execplane.sdk.sensors import FileSensor, PythonSensor

MARK = "/tmp/execplane-example-{{ run_id | replace(':', '-') }}"

with DAG("sensors", schedule=None, start_date=datetime(2024, 1, 1), tags=["example", "sensor"]):
    make = BashOperator(task_id="make_file", bash_command=f"sleep 2; touch {MARK}")
    PythonSensor(
        task_id="wait_in_process",
        python_callable=lambda path: Path(path).exists(),
        op_args=[MARK],
        poke_interval=0.5,
        timeout=timedelta(minutes=1),
    )
    FileSensor(task_id="wait_rescheduled", filepath=MARK, mode="reschedule", poke_interval=2, timeout=60)
    FileSensor(task_id="may_be_missing", filepath="/nowhere/at/all", poke_interval=0.5, timeout=1, soft_fail=True)

    @task.sensor(poke_interval=0.5, timeout=60, mode="poke")
    def wait_for_value():
        return PokeReturnValue(is_done=True, xcom_value="found")

    @task
    def use(value: str):
        print(value)

    use(wait_for_value())
