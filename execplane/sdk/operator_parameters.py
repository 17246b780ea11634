"""The parameters that single operators add to those of every operator: rows for the reference, held against the
constructors' signatures by a test."""

from __future__ import annotations

from execplane.sdk.accepting import Parameter, Refused
from execplane.sdk.groups import TASK_GROUP, TASK_GROUP_REFUSED
from execplane.sdk.parameters import DAG, DAG_REFUSED, OPERATOR, OPERATOR_REFUSED

_P = Parameter

_CALLABLE = (
    _P(
        name="python_callable",
        takes="callable",
        effect="Called with what it asks of the context.",
    ),
    _P(name="op_args", takes="list (template)", effect="Its positional arguments."),
    _P(name="op_kwargs", takes="dict (template)", effect="Its named arguments."),
    _P(name="templates_dict", takes="dict (template)", effect="Rendered; in the context as templates_dict."),
)
_PYTHON = (
    *_CALLABLE,
    _P(name="templates_exts", takes="list of endings", effect="Texts that end so are template files."),
    _P(name="show_return_value_in_logs", takes="bool", default=True, effect="Whether the log shows the result."),
    _P(
        name="provide_context",
        takes="True",
        default=True,
        effect="Always done; False is refused.",
    ),
)
_SHELL = (
    _P(name="env", takes="dict (template)", effect="The command's whole environment (AIRFLOW_CTX_* is added)."),
    _P(name="append_env", takes="bool", default=False, effect="env is added to the worker's environment instead."),
    _P(name="output_encoding", takes="codec", default="utf-8", effect="How the output is read."),
    _P(name="skip_on_exit_code", takes="int, list or None", default=99, effect="Exit codes that skip the task."),
    _P(name="cwd", takes="folder (template)", effect="Where it runs; unset: a fresh folder, removed afterwards."),
    _P(name="output_processor", takes="callable", effect="Turns the last line into the result."),
)
_SENSOR = (
    _P(name="poke_interval", takes="seconds or timedelta", default=60.0, effect="The pause between two looks."),
    _P(name="timeout", takes="seconds or timedelta", default=604800.0, effect="The longest wait."),
    _P(name="soft_fail", takes="bool", default=False, effect="A timeout skips instead."),
    _P(name="mode", takes="poke | reschedule", default="poke", effect="Sleep in the process, or end and come again."),
    _P(name="exponential_backoff", takes="bool", default=False, effect="Each pause is twice the one before."),
    _P(name="max_wait", takes="seconds or timedelta", effect="The cap of the growing pause."),
    _P(name="silent_fail", takes="bool", default=False, effect="A look that raises counts as not done yet."),
    _P(name="never_fail", takes="bool", default=False, effect="A look that raises, and a timeout, skip the task."),
)  # fmt: skip

CLASSES: dict[str, tuple[Parameter, ...]] = {
    "BashOperator": (
        _P(name="bash_command", takes="template, .sh or .bash file", effect="Its last line is the result."),
        *_SHELL,
    ),
    "PythonOperator": _PYTHON,
    "ShortCircuitOperator": (
        _P(
            name="ignore_downstream_trigger_rules",
            takes="bool",
            default=True,
            effect="A false result skips everything downstream, not the direct downstream only.",
        ),
        *_PYTHON,
    ),
    "BranchPythonOperator": _PYTHON,
    "BaseBranchOperator": (),
    "EmptyOperator": (),
    "LatestOnlyOperator": (),
    "BaseSensorOperator": _SENSOR,
    "PythonSensor": (*_CALLABLE, *_SENSOR),
    "FileSensor": (
        _P(name="filepath", takes="path or glob (template)", effect="The file, or the folder with files, waited for."),
        _P(name="fs_conn_id", takes="string", default="fs_default", effect="Its extra has the base path."),
        _P(name="recursive", takes="bool", default=False, effect="`**` in filepath goes through folders."),
        *_SENSOR,
    ),
}  # fmt: skip

SECTIONS: tuple[tuple[str, tuple[Parameter, ...], tuple[Refused, ...]], ...] = (
    ("DAG and @dag", DAG, DAG_REFUSED),
    ("Every operator and @task", OPERATOR, OPERATOR_REFUSED),
    ("TaskGroup and @task_group", TASK_GROUP, TASK_GROUP_REFUSED),
)
