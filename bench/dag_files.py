"""The DAG files that are measured, as a newcomer would write them."""

from __future__ import annotations

_HEAD = "from datetime import datetime\n\nfrom execplane import DAG, dag, task\n"


def chain_of(dag_id: str, tasks: int) -> str:
    """No-op Python tasks, one after the other."""
    return f"""{_HEAD}

@task
def nothing():
    pass


with DAG("{dag_id}", schedule=None, start_date=datetime(2026, 1, 1)):
    before = nothing.override(task_id="t0")()
    for number in range(1, {tasks}):
        following = nothing.override(task_id=f"t{{number}}")()
        before >> following
        before = following
"""


def fan_of(dag_id: str, tasks: int, *, runs: int = 1) -> str:
    """Independent no-op Python tasks, all of so many runs allowed to run at once."""
    return f"""{_HEAD}

@task
def nothing():
    pass


with DAG("{dag_id}", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks={tasks * runs},
         max_active_runs={runs}):
    for number in range({tasks}):
        nothing.override(task_id=f"t{{number}}")()
"""


def five_tasks(number: int) -> str:
    """One of many files: five tasks, some of them in a row."""
    return f"""{_HEAD}

@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False, tags=["team-{number % 7}"])
def pipeline_{number:04d}():
    @task
    def extract():
        return [1, 2, {number}]

    @task(retries=2)
    def transform(values):
        return sum(values)

    @task
    def load(total):
        print(total)

    @task
    def check():
        pass

    @task.bash
    def report():
        return "echo {number}"

    load(transform(extract())) >> check() >> report()


pipeline_{number:04d}()
"""
