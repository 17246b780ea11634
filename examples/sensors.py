"""Sensors in both modes: "poke" waits in its process, "reschedule" gives its slot back between looks."""

from datetime import UTC, datetime, timedelta

from execplane import DAG, task
from execplane.sdk import PokeReturnValue
from execplane.sdk.sensors import FileSensor, PythonSensor

STARTED = "{{ dag_run.start_date.isoformat() }}"


def seconds_have_passed(started: str, seconds: int) -> bool:
    return datetime.now(UTC) - datetime.fromisoformat(started) > timedelta(seconds=seconds)


with DAG("sensors", schedule=None, start_date=datetime(2024, 1, 1), tags=["example", "sensor"]):
    PythonSensor(
        task_id="wait_in_process",
        python_callable=seconds_have_passed,
        op_args=[STARTED, 2],
        poke_interval=0.5,
        timeout=timedelta(minutes=1),
    )
    PythonSensor(
        task_id="wait_rescheduled",
        python_callable=seconds_have_passed,
        op_args=[STARTED, 6],
        mode="reschedule",
        poke_interval=2,
        timeout=120,
    )
    FileSensor(task_id="wait_for_file", filepath="/etc/hostname", poke_interval=1, timeout=60)
    FileSensor(task_id="may_be_missing", filepath="/nowhere/at/all", poke_interval=0.5, timeout=1, soft_fail=True)

    @task.sensor(poke_interval=0.5, timeout=60, mode="poke")
    def wait_for_value():
        return PokeReturnValue(is_done=True, xcom_value="found")

    @task
    def use(value: str):
        print(value)

    use(wait_for_value())
