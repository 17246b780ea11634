"""Dynamic mapping: as many instances as there are entries, known only when the run is under way."""

from datetime import datetime

from execplane import DAG, task
from execplane.sdk.operators import BashOperator

with DAG("dynamic_mapping", schedule=None, start_date=datetime(2024, 1, 1), tags=["example", "mapping"]):

    @task
    def list_files():
        return ["a.csv", "b.csv", "c.csv"]

    @task(map_index_template="{{ task.op_kwargs['file'] }}")
    def count(file: str, factor: int):
        return len(file) * factor

    @task
    def total(counts):
        return sum(counts)

    files = list_files()
    counts = count.partial(factor=2).expand(file=files)
    total(counts)

    @task
    def add(x: int, y: int):
        return x + y

    add.expand(x=[1, 2], y=[10, 20, 30])
    add.override(task_id="add_pairs").expand_kwargs([{"x": 1, "y": 2}, {"x": 3, "y": 4}])
    BashOperator.partial(task_id="echo").expand(bash_command=files.map(lambda name: f"echo {name}"))

    @task
    def show(pair):
        print(pair)

    show.expand(pair=files.zip(counts))
