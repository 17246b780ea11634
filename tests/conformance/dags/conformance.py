"""What the conformance suite runs on every executor. `conf` says how the task behaves and where the recorder is."""

import ctypes
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

from execplane import DAG, task
from execplane.sdk import BaseHook, BaseOperator, Variable

LARGE = "0123456789abcdef" * 327_680  # 5 MiB


class Work(BaseOperator):
    """Tells the recorder that it lives, and then does as `conf` says."""

    template_fields = ("note",)

    def __init__(self, note="", **kwargs):
        super().__init__(**kwargs)
        self.note = note

    def execute(self, context):
        conf = context["dag_run"].conf
        host, _, port = conf["recorder"].rpartition(":")
        self.connection = socket.create_connection((host, int(port)))
        who = os.environ.get("EXECPLANE_POD_UID") or str(os.getpid())
        first = {
            "run_id": context["run_id"],
            "task_id": self.task_id,
            "try_number": context["ti"].try_number,
            "who": who,
        }
        self.connection.sendall(json.dumps(first).encode() + b"\n")
        return getattr(self, conf.get("how", "done"))(context)

    def on_kill(self):
        self.log.info("on_kill was called")
        self.connection.sendall(b"on_kill\n")

    def wait(self):
        """Until the test says so. The connection's end comes only if the test itself is gone."""
        assert self.connection.recv(16) == b"go\n"

    def done(self, context):
        print("printed by the task")
        logging.getLogger("conformance").warning("logged by the task")
        subprocess.run(["echo", "written by a subprocess"], check=True)
        return {"run": context["run_id"]}

    def hold(self, context):
        print("holding")
        self.wait()
        print("went on")
        return "held"

    def chatter(self, context):
        for number in range(100):
            print(f"before {number}")
        self.wait()
        for number in range(100):
            print(f"after {number}")
        return "told"

    def family(self, context):
        """With a child in a session of its own, which keeps the connection open as long as it lives."""
        fd = self.connection.fileno()
        subprocess.Popen(["sleep", "1000"], pass_fds=[fd], start_new_session=True)
        self.wait()

    def deaf(self, context):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.family(context)

    def fail(self, context):
        raise ValueError("a bad day")

    def fail_once(self, context):
        if context["ti"].try_number == 1:
            raise ValueError("a bad day")
        return "better"

    def killed(self, context):
        os.kill(os.getpid(), signal.SIGKILL)

    def hog(self, context):
        blocks = []
        for _ in range(128):
            blocks.append(b"x" * (16 << 20))
        return f"nobody stopped it at {len(blocks)} blocks"

    def left(self, context):
        os._exit(3)

    def left_well(self, context):
        os._exit(0)

    def crash(self, context):
        ctypes.string_at(0)

    def sys_exit(self, context):
        sys.exit(4)


with DAG("plain", schedule=None):
    Work(task_id="work", note="{{ run_id }} of {{ dag.dag_id }}")

with DAG("retried", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}):
    Work(task_id="work")

with DAG("limited", schedule=None):
    Work(task_id="work", execution_timeout=timedelta(seconds=1))

with DAG("greedy", schedule=None):
    limits = {"resources": {"limits": {"memory": "256Mi"}}}
    Work(task_id="work", executor_config={"pod_override": {"spec": {"containers": [{"name": "base", **limits}]}}})

with DAG("parallel", schedule=None, max_active_tasks=32):
    for number in range(20):
        Work(task_id=f"work_{number}")

with DAG("passing", schedule=None):

    @task
    def push():
        return LARGE

    @task
    def pull(value, ti=None):
        by_hand = ti.xcom_pull(task_ids="push")
        return {"sha256": hashlib.sha256(value.encode()).hexdigest(), "same": by_hand == value}

    pull(push())

with DAG("asking", schedule=None):

    @task
    def ask():
        Variable.set("made_by_task", "new")
        login = BaseHook.get_connection("warehouse")
        return {
            "greeting": Variable.get("greeting"),
            "made": Variable.get("made_by_task"),
            "missing": Variable.get("missing", default="none"),
            "login": f"{login.login}@{login.host}",
            "password_length": len(login.password),
        }

    ask()
