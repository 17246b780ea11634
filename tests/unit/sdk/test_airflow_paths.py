from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from execplane import sdk
from execplane.sdk import airflow
from execplane.sdk.airflow import paths
from execplane.sdk.airflow.finder import AirflowFinder
from execplane.sdk.exceptions import UnsupportedImport
from tests.unit.sdk.building import loaded, parsed, result, run_task


@pytest.fixture
def served() -> None:
    assert airflow.install() is True


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("module", sorted(paths.MODULES))
def test_every_served_path_can_be_imported_with_all_its_names(module: str) -> None:
    found = importlib.import_module(module)
    assert importlib.import_module(module) is found
    for name, where in paths.MODULES[module].items():
        value = getattr(found, name)
        home, _, inner = where.partition(":")
        expected = importlib.import_module(home)
        assert value is (getattr(expected, inner) if inner else expected)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    "module", [*sorted(paths.MODULES), "execplane.sdk", "execplane.sdk.operators", "execplane.sdk.sensors"]
)
def test_a_star_import_binds_all_that_the_module_serves(module: str) -> None:
    found: dict[str, Any] = {}
    exec(f"from {module} import *", found)
    served = paths.MODULES[module] if module in paths.MODULES else vars(importlib.import_module(module))["_WHERE"]
    assert set(found) - {"__builtins__"} == set(served)


@pytest.mark.usefixtures("served")
def test_macros_of_the_standard_library_are_those_of_airflow() -> None:
    found: dict[str, Any] = {}
    exec("from airflow.macros import dateutil, random, yaml", found)
    assert 0 <= found["random"]() < 1
    assert found["yaml"].safe_load("a: 1") == {"a": 1}
    assert found["dateutil"].parser.parse("2024-01-02").day == 2


# What 341 real DAG files import most, by the names they use.
COMMON = """
from airflow import DAG
from airflow.models import DAG, Variable, Connection, BaseOperator, Param
from airflow.models.param import Param
from airflow.models.baseoperator import chain, cross_downstream, BaseOperator
from airflow.decorators import dag, task, task_group
from airflow.operators.dummy_operator import DummyOperator
from airflow.operators.dummy import DummyOperator
from airflow.operators.empty import EmptyOperator
from airflow.operators.python import PythonOperator, BranchPythonOperator, ShortCircuitOperator, get_current_context
from airflow.operators.python_operator import PythonOperator, BranchPythonOperator, ShortCircuitOperator
from airflow.operators.bash_operator import BashOperator
from airflow.operators.bash import BashOperator
from airflow.operators.latest_only import LatestOnlyOperator
from airflow.configuration import conf
from airflow.utils.dates import days_ago
from airflow.utils.task_group import TaskGroup
from airflow.utils.trigger_rule import TriggerRule
from airflow.utils.edgemodifier import Label
from airflow.utils.decorators import apply_defaults
from airflow.utils.context import Context
from airflow.utils.state import State
from airflow.utils import timezone, dates
from airflow.exceptions import AirflowException, AirflowSkipException, AirflowFailException
from airflow.hooks.base import BaseHook
from airflow.hooks.base_hook import BaseHook
from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
from airflow.sensors.python import PythonSensor
from airflow.sensors.filesystem import FileSensor
from airflow.sdk import DAG, dag, task, task_group, chain, Label, Param, Variable, Connection, get_current_context
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator, BranchPythonOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.timetables.trigger import CronTriggerTimetable
import airflow.utils.dates
import airflow
"""


@pytest.mark.parametrize("line", COMMON.strip().splitlines())
def test_what_real_dag_files_import_is_there(tmp_path: Path, line: str) -> None:
    assert loaded(tmp_path, f"# a dag file\n{line}\n").error == ""


UNSUPPORTED = [
    (
        "from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator",
        "providers.google",
        "client",
    ),
    ("from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator", "cncf", "pod_override"),
    ("from airflow.providers.cncf.kubernetes.secret import Secret", "cncf", "pod_override"),
    ("from airflow.contrib.operators.kubernetes_pod_operator import KubernetesPodOperator", "contrib", "pod_override"),
    ("from airflow.sensors.external_task import ExternalTaskSensor", "external_task", "PythonSensor"),
    ("from airflow.operators.trigger_dagrun import TriggerDagRunOperator", "trigger_dagrun", "REST API"),
    ("from airflow.operators.subdag import SubDagOperator", "subdag", "TaskGroup"),
    ("from airflow.operators.email import EmailOperator", "email", "smtplib"),
    ("from airflow.datasets import Dataset", "datasets", "schedule of its own"),
    ("from airflow import Dataset", "airflow.Dataset", "schedule of its own"),
    ("from airflow.sdk import Asset", "airflow.sdk.Asset", "schedule of its own"),
    ("from airflow.models import DagRun", "airflow.models.DagRun", "REST API"),
    ("from airflow.models import DagBag", "DagBag", "import-errors"),
    ("from airflow.macros import ds_format_locale", "airflow.macros.ds_format_locale", "babel"),
    ("from airflow.settings import Session", "airflow.settings", "no access to the database"),
    ("from airflow.utils.db import provide_session", "airflow.utils.db", "no access to the database"),
    ("from airflow.plugins_manager import AirflowPlugin", "plugins_manager", "DAGs folder"),
    ("from airflow.timetables.base import Timetable", "timetables.base", "CronTriggerTimetable"),
    ("from airflow.providers.http.operators.http import SimpleHttpOperator", "http", "requests"),
    ("from airflow.operators.python import PythonVirtualenvOperator", "PythonVirtualenvOperator", "It has:"),
    ("import airflow.something.new", "airflow.something", "docs/sdk-parameters.md"),
]


@pytest.mark.parametrize(("line", "name", "advice"), UNSUPPORTED, ids=[line for line, _, _ in UNSUPPORTED])
def test_an_unsupported_import_names_file_line_name_and_what_to_use(
    tmp_path: Path, line: str, name: str, advice: str
) -> None:
    found = parsed(tmp_path, f"from airflow import DAG\n\n{line}\n")
    assert found.dags == ()
    assert "example.py, line 3: execplane does not have airflow" in found.error
    assert name in found.error
    assert advice in found.error


def test_an_unsupported_import_in_a_module_of_the_files_own_names_that_module(tmp_path: Path) -> None:
    (tmp_path / "own_operators_of_test.py").write_text("\nfrom airflow.models import XCom\n")
    found = parsed(tmp_path, "# dag\nfrom airflow import DAG\nimport own_operators_of_test\n")
    assert "own_operators_of_test.py, line 2: execplane does not have airflow.models.XCom" in found.error
    sys.modules.pop("own_operators_of_test", None)


def test_an_author_may_catch_the_import_error(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        """
        from airflow import DAG
        try:
            from airflow.providers.slack.hooks import SlackHook
        except ImportError:
            SlackHook = None
        try:
            import airflow.datasets
        except ModuleNotFoundError:
            pass
        d = DAG("caught", schedule=None)
        """,
    )
    assert (found.error, list(found.dags)) == ("", ["caught"])


@pytest.mark.usefixtures("served")
def test_both_names_are_one_class() -> None:
    bash: Any = importlib.import_module("airflow.operators.bash_operator")
    assert bash.BashOperator is sdk.BashOperator
    assert importlib.import_module("airflow").__version__ == paths.VERSION
    with pytest.raises(UnsupportedImport):
        importlib.import_module("airflow.nothing")


def test_nothing_named_airflow_is_there_until_it_is_installed() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'airflow'"):
        importlib.import_module("airflow")
    airflow.install()
    importlib.import_module("airflow")
    airflow.uninstall()
    with pytest.raises(ModuleNotFoundError, match="No module named 'airflow'"):
        importlib.import_module("airflow")


def test_installing_twice_leaves_one_finder() -> None:
    assert airflow.install() is airflow.install() is True
    assert sum(isinstance(finder, AirflowFinder) for finder in sys.meta_path) == 1


def test_a_real_airflow_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "__init__.py").write_text("REAL = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert airflow.install() is False
    assert importlib.import_module("airflow").REAL is True
    assert airflow.install() is False
    del sys.modules["airflow"]


def test_a_folder_named_airflow_that_is_no_package_is_no_airflow(tmp_path: Path) -> None:
    (tmp_path / "airflow").mkdir()
    found = loaded(tmp_path, "from airflow import DAG\nd = DAG('d', schedule=None)")
    assert (found.error, list(found.dags)) == ("", ["d"])


def test_an_old_dag_file_of_airflow_1_runs(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        """
        from datetime import timedelta
        import airflow
        from airflow.models import DAG, Variable
        from airflow.operators.python_operator import PythonOperator
        from airflow.operators.dummy_operator import DummyOperator
        from airflow.utils.dates import days_ago
        from airflow.utils.decorators import apply_defaults
        from airflow.models import BaseOperator

        class Mine(BaseOperator):
            ui_color = "#fff"
            @apply_defaults
            def __init__(self, what, *args, **kwargs):
                super(Mine, self).__init__(*args, **kwargs)
                self.what = what
            def execute(self, context):
                return self.what

        args = {"owner": "airflow", "start_date": days_ago(2), "depends_on_past": False}
        dag = DAG(dag_id="old", default_args=args, schedule_interval="0 0 * * *", dagrun_timeout=timedelta(minutes=60))

        def print_context(ds, **kwargs):
            return ds + " " + kwargs["execution_date"].isoformat() + Variable.get("suffix", default_var="!")

        run_this = PythonOperator(task_id="print", provide_context=True, python_callable=print_context, dag=dag)
        mine = Mine(task_id="mine", what="own", dag=dag)
        last = DummyOperator(task_id="last", dag=dag, trigger_rule="none_failed_or_skipped")
        run_this.set_downstream(last)
        last.set_upstream(mine)
        if __name__ == "__main__":
            dag.cli()
        """,
    )
    assert found.error == ""
    dag = found.dag("old")
    assert result(run_task(dag, "print")) == "2024-01-02 2024-01-02T00:00:00+00:00!"
    assert result(run_task(dag, "mine")) == "own"


def test_conf_reads_the_environment_and_the_dags_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SMTP__SMTP_HOST", "mail.example.org")
    source = """
    from airflow import DAG
    from airflow.configuration import conf
    assert conf.get("smtp", "smtp_host") == "mail.example.org"
    assert conf.get("core", "dags_folder") == {folder!r}
    assert conf.getint("core", "parallelism", fallback=3) == 3
    assert conf.getboolean("core", "load_examples", fallback=False) is False
    conf.get("core", "sql_alchemy_conn")
    """
    found = parsed(tmp_path, source.format(folder=str(tmp_path)))
    assert "example.py, line 8: section/key [core/sql_alchemy_conn] not found" in found.error
    assert "AIRFLOW__CORE__SQL_ALCHEMY_CONN" in found.error
