"""Which of Airflow's names are served, under each path they have had, and what to use instead of the others."""

from __future__ import annotations

VERSION = "2.11.0"
"""What DAG files that ask for `airflow.__version__` are told: the release whose semantics are the default."""

_S = "execplane.sdk."


def _from(module: str, *names: str) -> dict[str, str]:
    return {name: f"{_S}{module}:{name}" for name in names}


_BASH = _from("operators.bash", "BashOperator")
_PYTHON = {
    **_from("operators.python", "PythonOperator", "ShortCircuitOperator"),
    **_from("operators.branch", "BranchPythonOperator"),
    **_from("context", "get_current_context"),
    "task": f"{_S}decorators:task",
}
_EMPTY = _from("operators.empty", "EmptyOperator")
_DUMMY = _from("operators.empty", "DummyOperator")
_LATEST = _from("operators.latest_only", "LatestOnlyOperator")
_BRANCH = _from("operators.branch", "BaseBranchOperator", "BranchPythonOperator")
_BASE_OPERATOR = {
    **_from("operator", "BaseOperator"),
    **_from("edges", "chain", "chain_linear", "cross_downstream"),
}
_SENSOR = {
    **_from("sensors.base", "BaseSensorOperator", "PokeReturnValue"),
}
_PYTHON_SENSOR = _from("sensors.python", "PythonSensor")
_FILE_SENSOR = _from("sensors.filesystem", "FileSensor")
_DAG = _from("dags", "DAG", "dag")
_GROUP = _from("groups", "TaskGroup", "task_group")
_PARAM = _from("params", "Param", "ParamsDict")
_HOOK = _from("connections", "BaseHook")
_CONNECTION = _from("connections", "Connection")
_VARIABLE = _from("variables", "Variable")
_XCOM_ARG = _from("xcom_arg", "XComArg")
_CONTEXT = _from("context", "Context", "get_current_context")
_DECORATORS = {**_from("dags", "dag"), **_from("decorators", "task"), **_from("groups", "task_group")}
_RULE = {"TriggerRule": "execplane.contract.states:TriggerRule"}
_LOGGING = _from("log", "LoggingMixin")
_EXCEPTIONS = _from(
    "exceptions",
    "AirflowConfigException",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTerminated",
    "AirflowTaskTimeout",
    "AirflowDagCycleException",
    "DuplicateTaskIdFound",
    "ParamValidationError",
    "XComNotFound",
)
_TIMETABLES = {
    "trigger": _from("timetables", "CronTriggerTimetable", "DeltaTriggerTimetable"),
    "interval": _from("timetables", "CronDataIntervalTimetable", "DeltaDataIntervalTimetable"),
    "simple": _from("timetables", "NullTimetable", "OnceTimetable", "ContinuousTimetable"),
}

MODULES: dict[str, dict[str, str]] = {
    "airflow": {
        **_from("dags", "DAG"),
        **_XCOM_ARG,
        "AirflowException": f"{_S}exceptions:AirflowException",
    },
    "airflow.sdk": {
        **_DAG,
        **_DECORATORS,
        **_GROUP,
        **_PARAM,
        **_VARIABLE,
        **_CONNECTION,
        **_XCOM_ARG,
        **_BASE_OPERATOR,
        **_SENSOR,
        **_HOOK,
        **_CONTEXT,
        **_RULE,
        **_from("edges", "Label"),
        **_from("templating", "literal"),
        **_TIMETABLES["trigger"],
        **_TIMETABLES["interval"],
    },
    "airflow.sdk.bases.operator": _BASE_OPERATOR,
    "airflow.sdk.bases.sensor": _SENSOR,
    "airflow.sdk.bases.hook": _HOOK,
    "airflow.sdk.definitions.context": _CONTEXT,
    "airflow.sdk.definitions.dag": _DAG,
    "airflow.sdk.definitions.param": _PARAM,
    "airflow.sdk.definitions.variable": _VARIABLE,
    "airflow.sdk.definitions.connection": _CONNECTION,
    "airflow.sdk.definitions.taskgroup": _GROUP,
    "airflow.sdk.definitions.edges": _from("edges", "Label"),
    "airflow.sdk.definitions.template": {"literal": f"{_S}templating:literal"},
    "airflow.sdk.exceptions": _EXCEPTIONS,
    "airflow.sdk.execution_time.context": _from("context", "get_current_context"),
    "airflow.configuration": {
        "conf": f"{_S}airflow.configuration:conf",
        "get": f"{_S}airflow.configuration:get",
    },
    "airflow.decorators": _DECORATORS,
    "airflow.decorators.base": _from("decorators", "TaskFactory"),
    "airflow.exceptions": _EXCEPTIONS,
    "airflow.hooks.base": _HOOK,
    "airflow.hooks.base_hook": _HOOK,
    "airflow.macros": _from(
        "macros",
        "dateutil",
        "datetime",
        "datetime_diff_for_humans",
        "ds_add",
        "ds_format",
        "json",
        "random",
        "time",
        "timedelta",
        "uuid",
        "yaml",
    ),
    "airflow.models": {
        **_from("dags", "DAG"),
        **_from("operator", "BaseOperator"),
        **_CONNECTION,
        **_VARIABLE,
        **_PARAM,
        **_XCOM_ARG,
        "TaskInstance": f"{_S}task_instance:TaskInstanceView",
    },
    "airflow.models.baseoperator": _BASE_OPERATOR,
    "airflow.models.connection": _CONNECTION,
    "airflow.models.dag": _DAG,
    "airflow.models.param": _PARAM,
    "airflow.models.taskinstance": {"TaskInstance": f"{_S}task_instance:TaskInstanceView", **_CONTEXT},
    "airflow.models.variable": _VARIABLE,
    "airflow.models.xcom_arg": _XCOM_ARG,
    "airflow.operators.bash": _BASH,
    "airflow.operators.bash_operator": _BASH,
    "airflow.operators.branch": _BRANCH,
    "airflow.operators.dummy": {**_DUMMY, **_EMPTY},
    "airflow.operators.dummy_operator": _DUMMY,
    "airflow.operators.empty": _EMPTY,
    "airflow.operators.latest_only": _LATEST,
    "airflow.operators.latest_only_operator": _LATEST,
    "airflow.operators.python": _PYTHON,
    "airflow.operators.python_operator": _PYTHON,
    "airflow.operators": {**_BASH, **_PYTHON, **_DUMMY, **_from("operator", "BaseOperator")},
    "airflow.providers.standard.operators.bash": _BASH,
    "airflow.providers.standard.operators.branch": _BRANCH,
    "airflow.providers.standard.operators.empty": _EMPTY,
    "airflow.providers.standard.operators.latest_only": _LATEST,
    "airflow.providers.standard.operators.python": _PYTHON,
    "airflow.providers.standard.sensors.filesystem": _FILE_SENSOR,
    "airflow.providers.standard.sensors.python": _PYTHON_SENSOR,
    "airflow.sensors.base": _SENSOR,
    "airflow.sensors.base_sensor_operator": _SENSOR,
    "airflow.sensors.filesystem": _FILE_SENSOR,
    "airflow.contrib.sensors.file_sensor": _FILE_SENSOR,
    "airflow.contrib.sensors.python_sensor": _PYTHON_SENSOR,
    "airflow.sensors.python": _PYTHON_SENSOR,
    "airflow.task.trigger_rule": _RULE,
    "airflow.template.templater": {
        "literal": f"{_S}templating:literal",
        "LiteralValue": f"{_S}templating:LiteralValue",
    },
    "airflow.timetables.interval": _TIMETABLES["interval"],
    "airflow.timetables.simple": _TIMETABLES["simple"],
    "airflow.timetables.trigger": _TIMETABLES["trigger"],
    "airflow.utils.context": _CONTEXT,
    "airflow.utils.dates": {
        "days_ago": f"{_S}airflow.dates:days_ago",
        "cron_presets": f"{_S}timetables:PRESETS",
        "timezone": f"{_S}airflow.timezone",
    },
    "airflow.utils.decorators": {"apply_defaults": f"{_S}operator:apply_defaults"},
    "airflow.utils.edgemodifier": _from("edges", "Label"),
    "airflow.utils.helpers": {
        **_from("edges", "chain", "cross_downstream"),
        "chain_linear": f"{_S}edges:chain_linear",
    },
    "airflow.utils.log.logging_mixin": _LOGGING,
    "airflow.utils.state": {
        name: f"{_S}airflow.state:{name}" for name in ("DagRunState", "State", "TaskInstanceState")
    },
    "airflow.utils.task_group": _GROUP,
    "airflow.utils.timezone": _from(
        "airflow.timezone",
        "convert_to_utc",
        "coerce_datetime",
        "datetime",
        "is_localized",
        "is_naive",
        "make_aware",
        "make_naive",
        "parse",
        "utc",
        "utcnow",
    ),
    "airflow.utils.trigger_rule": _RULE,
    "airflow.utils.types": {"NOTSET": f"{_S}airflow.state:NOTSET"},
    "airflow.utils.weight_rule": {"WeightRule": f"{_S}airflow.state:WeightRule"},
    "airflow.utils.weekday": {"WeekDay": f"{_S}airflow.state:WeekDay"},
    "airflow.version": {"version": f"{_S}airflow.paths:VERSION"},
}

PACKAGES = frozenset(name.rsplit(".", depth)[0] for name in MODULES for depth in range(1, name.count(".") + 1)) | {
    "airflow",
    "airflow.sdk",
    "airflow.models",
    "airflow.operators",
    "airflow.sensors",
    "airflow.utils",
}

_POD = "Every task is a pod already: use a BashOperator or @task with executor_config={'pod_override': ...}."
_ADVICE: tuple[tuple[str, str], ...] = (
    ("KubernetesPodOperator", _POD),
    ("airflow.providers.cncf.kubernetes", _POD),
    ("airflow.contrib.operators.kubernetes_pod_operator", _POD),
    ("airflow.contrib.kubernetes", _POD),
    ("airflow.contrib.operators.KubernetesOperator", _POD),
    ("SubDagOperator", "Use a TaskGroup."),
    ("airflow.operators.subdag", "Use a TaskGroup."),
    ("ExternalTaskSensor", "Put both into one DAG, or wait for the data with a PythonSensor."),
    ("ExternalTaskMarker", "Put both into one DAG, or wait for the data with a PythonSensor."),
    ("airflow.sensors.external_task", "Put both into one DAG, or wait for the data with a PythonSensor."),
    (
        "airflow.providers.standard.sensors.external_task",
        "Put both into one DAG, or wait with a PythonSensor.",
    ),
    ("airflow.operators.dagrun_operator", "Trigger the other DAG through the REST API, in a @task."),
    ("airflow.operators.trigger_dagrun", "Trigger the other DAG through the REST API, in a @task."),
    (
        "airflow.providers.standard.operators.trigger_dagrun",
        "Trigger the other DAG through the REST API, in a @task.",
    ),
    ("TriggerDagRunOperator", "Trigger the other DAG through the REST API, in a @task."),
    ("airflow.operators.email", "Send mail from a @task with smtplib, or use on_failure_callback."),
    ("airflow.datasets", "Give each DAG a schedule of its own; assets are not supported."),
    ("airflow.assets", "Give each DAG a schedule of its own; assets are not supported."),
    ("airflow.sdk.Asset", "Give each DAG a schedule of its own; assets are not supported."),
    ("Dataset", "Give each DAG a schedule of its own; assets are not supported."),
    ("airflow.settings", "Tasks have no access to the database: use Variables, XComs and the REST API."),
    ("airflow.utils.db", "Tasks have no access to the database: use Variables, XComs and the REST API."),
    ("airflow.utils.session", "Tasks have no access to the database: use Variables, XComs and the REST API."),
    ("airflow.models.DagRun", "Tasks have no access to the database: use ti, dag_run or the REST API."),
    ("airflow.models.dagrun", "Tasks have no access to the database: use ti, dag_run or the REST API."),
    ("airflow.models.DagBag", "Use `execplane dags list` and `execplane dags import-errors`."),
    ("airflow.models.dagbag", "Use `execplane dags list` and `execplane dags import-errors`."),
    ("airflow.models.XCom", "Use ti.xcom_pull and ti.xcom_push."),
    ("airflow.macros.ds_format_locale", "Use ds_format, or babel in a @task: execplane does not bring babel."),
    ("airflow.models.Pool", "Pools are made by the platform's operators; name one with pool='...'."),
    ("airflow.plugins_manager", "Import the plugin's classes from a module in the DAGs folder."),
    (
        "airflow.timetables",
        "Use a cron expression, a timedelta, CronTriggerTimetable or CronDataIntervalTimetable.",
    ),
    ("airflow.triggers", "Use a sensor with mode='reschedule'; deferrable operators are not supported."),
    ("airflow.sensors", "Use a PythonSensor or FileSensor, or derive from BaseSensorOperator."),
    ("airflow.providers.standard", "See docs/sdk-parameters.md for the operators there are."),
    ("airflow.providers.http", "Call the address from a @task with requests or httpx."),
    ("airflow.operators.http_operator", "Call the address from a @task with requests or httpx."),
    (
        "airflow.providers",
        "Call the vendor's own client library from a @task (BaseHook.get_connection gives the Connection).",
    ),
    (
        "airflow.contrib",
        "Call the vendor's own client library from a @task (BaseHook.get_connection gives the Connection).",
    ),
    (
        "airflow.hooks",
        "Call the vendor's own client library from a @task (BaseHook.get_connection gives the Connection).",
    ),
)


def advice(module: str, name: str) -> str:
    """What to use instead of a name that is not served."""
    what = f"{module}.{name}" if name else module
    for row, text in _ADVICE:
        if what == row or what.startswith(row + ".") or name == row or ("." not in row and row in what.split(".")):
            return text
    served = sorted(MODULES.get(module, {}))
    if served:
        return "It has: " + ", ".join(served) + "."
    return "See docs/sdk-parameters.md for what there is."
