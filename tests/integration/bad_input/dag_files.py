"""DAG files that authors really write wrong, beside a good one. They are text, as many of them cannot even be read."""

from __future__ import annotations

from pathlib import Path

_HEAD = """\
from datetime import datetime

from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator

"""

GOOD = (
    _HEAD
    + """
with DAG("good", schedule=None, start_date=datetime(2026, 1, 1)):
    BashOperator(task_id="hello", bash_command="echo hello from the good one")
"""
)

SYNTAX_ERROR = (
    _HEAD
    + """
with DAG("syntax_error", schedule=None):
    BashOperator(task_id="one", bash_command="true"
    BashOperator(task_id="two", bash_command="true")
"""
)

ENDLESS_LOOP = (
    _HEAD
    + """
while True: pass
"""
)

TOO_MUCH_MEMORY = (
    _HEAD
    + """
table = bytearray(2 << 30)
"""
)

SYS_EXIT = (
    _HEAD
    + """
import sys
sys.exit("no DAGs today")
"""
)

TWICE_A = (
    _HEAD
    + """
with DAG("twice", schedule=None):
    BashOperator(task_id="one", bash_command="echo from the first file")
"""
)

TWICE_B = (
    _HEAD
    + """
with DAG("twice", schedule=None):
    BashOperator(task_id="one", bash_command="echo from the second file")
"""
)

CYCLE = (
    _HEAD
    + """
with DAG("cycle", schedule=None):
    a, b, c = (BashOperator(task_id=name, bash_command="true") for name in "abc")
    a >> b >> c >> a
"""
)

PARAMS_NOT_JSON = (
    _HEAD
    + """
with DAG("params_not_json", schedule=None, params={"where": object()}):
    BashOperator(task_id="one", bash_command="true")
"""
)

INVALID_CRON = (
    _HEAD
    + """
with DAG("invalid_cron", schedule="61 * * * *", start_date=datetime(2026, 1, 1)):
    BashOperator(task_id="one", bash_command="true")
"""
)

UNSUPPORTED_IMPORT = (
    _HEAD
    + """
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
"""
)

PRINTS_MUCH = (
    _HEAD
    + """
for _ in range(1600):
    print("x" * 65535)
"""
)

LONG_DAG_ID = (
    _HEAD
    + f"""
with DAG("{"d" * 250}", schedule=None):
    BashOperator(task_id="{"t" * 250}", bash_command="echo a long name")
"""
)

TOO_LONG_DAG_ID = (
    _HEAD
    + f"""
with DAG("{"d" * 251}", schedule=None):
    BashOperator(task_id="one", bash_command="true")
"""
)

NON_ASCII = (
    _HEAD
    + """
with DAG("tägliche_Übung", schedule=None, tags=["größe", "日本"], description="für Übungen"):
    BashOperator(task_id="schön_日本", bash_command="echo schöne Grüße")
"""
)

BAD_DAG_ID = (
    _HEAD
    + """
with DAG("a dag/with slashes", schedule=None):
    BashOperator(task_id="one", bash_command="true")
"""
)

TEMPLATE_FILE_MISSING = (
    _HEAD
    + """
with DAG("template_file_missing", schedule=None):
    BashOperator(task_id="one", bash_command="not_there.sh")
"""
)

UNDEFINED_VARIABLE = (
    _HEAD
    + """
with DAG("undefined_variable", schedule=None):
    BashOperator(task_id="one", bash_command="echo {{ no_such_thing }}")
"""
)

PARAM_TO_FIT = (
    _HEAD
    + """
from airflow.models.param import Param

with DAG("param_to_fit", schedule=None, params={"count": Param(3, type="integer", minimum=1, maximum=9)}):
    BashOperator(task_id="one", bash_command="echo {{ params.count }}")
"""
)

UNKNOWN_EXECUTOR = (
    _HEAD
    + """
with DAG("unknown_executor", schedule=None):
    BashOperator(task_id="one", bash_command="true", executor="kubernets")
"""
)

NO_SUCH_POOL = (
    _HEAD
    + """
with DAG("no_such_pool", schedule=None):
    BashOperator(task_id="one", bash_command="true", pool="swimming")
"""
)

EXECUTOR_TAKEN_OUT = (
    _HEAD
    + """
with DAG("executor_taken_out", schedule=None):
    BashOperator(task_id="one", bash_command="true", executor="sequential", pool="swimming")
"""
)

MODULE_ONLY_HERE = (
    _HEAD
    + """
def needs_a_module():
    import only_on_the_laptop

with DAG("module_missing_in_task", schedule=None):
    PythonOperator(task_id="one", python_callable=needs_a_module)
"""
)

MODULE_MISSING_IN_WORKER = (
    _HEAD
    + """
import os

if os.path.exists("FLAG"):
    import only_where_files_are_parsed

with DAG("module_missing_in_worker", schedule=None):
    BashOperator(task_id="one", bash_command="true")
"""
)

DELETED_WHILE_RUNNING = (
    _HEAD
    + """
with DAG("deleted_while_running", schedule=None):
    first = BashOperator(
        task_id="first", bash_command="touch STARTED; while [ ! -e GO_ON ]; do sleep 0.1; done; echo went on"
    )
    second = BashOperator(task_id="second", bash_command="echo the file is gone and I ran")
    first >> second
"""
)

WAITS = (
    _HEAD
    + """
with DAG("waits", schedule=None):
    BashOperator(
        task_id="one", bash_command="touch STARTED; while [ ! -e GO_ON ]; do sleep 0.1; done; echo went on"
    )
"""
)

BAD_OVERRIDE = (
    _HEAD
    + """
from kubernetes.client import models as k8s

with DAG("bad_override", schedule=None):
    BashOperator(
        task_id="misspelt",
        bash_command="true",
        executor_config={
            "pod_override": {
                "spec": {"containers": [{"name": "base", "resources": {"limit": {"cpu": "1"}}}]}
            }
        },
    )
    BashOperator(task_id="right", bash_command="echo the right one ran")
"""
)


def write(folder: Path, *, places: dict[str, Path] | None = None, **sources: str) -> None:
    """Each source as `NAME.py`; the words in `places` become paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        for word, path in (places or {}).items():
            source = source.replace(word, str(path))
        (folder / f"{name}.py").write_text(source)
