"""What runs in the storm. Each task tells a witness outside execplane that it lives, for as long as it lives."""

import json
import os
import random
import socket
import time
from datetime import datetime

from execplane import DAG, task
from execplane.sdk import get_current_context

TASKS = 100  # as in dags_shape.py, which this file cannot import in a pod


def tell(context):
    """The connection is kept open: the kernel ends it with the process, however that ends."""
    host, _, port = context["dag_run"].conf["recorder"].rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    first = {
        "run_id": context["run_id"],
        "task_id": context["ti"].task_id,
        "try_number": context["ti"].try_number,
        # A pod's name is its attempt's; the uid tells two pods of one name apart, the rest two processes of a pod.
        "who": f"{socket.gethostname()} {os.environ['EXECPLANE_POD_UID']} {os.urandom(8).hex()}",
    }
    connection.sendall(json.dumps(first).encode() + b"\n")
    connection.settimeout(None)
    return connection


@task
def work():
    context = get_current_context()
    connection = tell(context)
    seconds = random.Random(f"{context['run_id']} {context['ti'].task_id}").uniform(0.1, 2.0)
    time.sleep(seconds)
    connection.sendall(b"end\n")


@task
def hold():
    """Until the witness says so."""
    connection = tell(get_current_context())
    assert connection.recv(16) == b"go\n"
    connection.sendall(b"end\n")


with DAG("storm", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=1000, max_active_runs=10):
    for number in range(TASKS):
        work.override(task_id=f"work_{number}")()

with DAG("calm", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=1000):
    for number in range(20):
        hold.override(task_id=f"hold_{number}")()

with DAG("lone", schedule=None, start_date=datetime(2026, 1, 1)):
    hold()
