from __future__ import annotations

import logging
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from execplane.sdk import BashOperator, masking, task
from execplane.sdk.exceptions import AirflowTaskTerminated
from execplane.sdk.log import TASK_LOGGER
from tests.parts.eventually import eventually
from tests.unit.sdk.building import claim, new_dag, result, run_task


def bash(command: str, **kwargs: Any) -> Any:
    with new_dag() as dag:
        BashOperator(task_id="bash", bash_command=command, **kwargs)
    return run_task(dag, "bash")


def told_to_stop_when_ready(command: str) -> Any:
    """The order to stop comes as soon as the command has said "ready", however busy the machine is."""

    class Order(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "ready":
                raise AirflowTaskTerminated("It is ready.")

    handler, logger = Order(), logging.getLogger(TASK_LOGGER)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        outcome = bash(command)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert outcome.outcome == "terminated"
    return outcome


@pytest.mark.parametrize(
    ("command", "last"),
    [
        ("echo one; echo two", "two"),
        ("echo out; echo err >&2", "err"),
        ("printf 'no newline'", "no newline"),
        ("printf 'padded   \\n'", "padded"),
        ("printf '   left\\n'", "   left"),
        ("echo text; echo", ""),
        ("true", ""),
    ],
)
def test_the_result_is_the_last_line_of_both_streams(command: str, last: str) -> None:
    assert result(bash(command)) == last


def test_every_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bash("echo one; echo two >&2")
    assert {"one", "two"} <= set(caplog.messages)


@pytest.mark.parametrize(
    ("command", "given", "outcome"),
    [
        ("exit 1", {}, "failed"),
        ("exit 99", {}, "skipped"),
        ("exit 99", {"skip_on_exit_code": None}, "failed"),
        ("exit 5", {"skip_on_exit_code": [4, 5]}, "skipped"),
        ("exit 0", {"skip_on_exit_code": 0}, "skipped"),
        ("kill -9 $$", {}, "failed"),
    ],
)
def test_the_exit_code_decides(command: str, given: dict[str, Any], outcome: str) -> None:
    assert bash(command, **given).outcome == outcome


def test_a_failure_names_the_code_or_the_signal_and_the_last_line() -> None:
    assert "exit code 3" in bash("echo no such table; exit 3").reason
    assert "no such table" in bash("echo no such table; exit 3").reason
    assert "SIGKILL" in bash("kill -9 $$").reason


def test_env_replaces_the_environment_unless_it_is_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_PARENT", "parent")
    show = "echo ${FROM_PARENT:-hidden} ${OWN:-none} $AIRFLOW_CTX_TASK_ID"
    assert result(bash(show)) == "parent none bash"
    assert result(bash(show, env={"OWN": "{{ ds }}"})) == "hidden 2024-01-02 bash"
    assert result(bash(show, env={"OWN": "mine"}, append_env=True)) == "parent mine bash"


def test_an_env_value_that_is_not_text_fails_with_its_name() -> None:
    assert "env['COUNT'] is 3" in bash("true", env={"COUNT": 3}).reason


def test_the_log_names_the_command_before_and_the_exit_code_after_its_output(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bash("echo one; exit 3", retries=0)
    running, said, ended = caplog.messages[:3]
    assert (said, ended) == ("one", "Command exited with return code 3")
    assert running.startswith("Running command: ['")
    assert running.endswith("bash', '-c', 'echo one; exit 3']")


def test_a_secret_in_the_command_is_hidden_however_it_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    masking.learn("it's\nme")
    with caplog.at_level(logging.INFO):
        bash("# it's\nme")
    assert caplog.messages[0].endswith("'-c', '# ***']")


def test_without_cwd_each_runs_in_a_fresh_folder_that_is_gone_afterwards() -> None:
    with new_dag() as dag:
        BashOperator(task_id="plain", bash_command="touch left; ls -A; pwd")
        task.bash(task_id="decorated")(lambda: "touch left; ls -A; pwd")()
    found = [result(run_task(dag, task_id)) for task_id in ("plain", "plain", "decorated")]
    assert len(set(found)) == 3
    assert not any(Path(folder).exists() for folder in found)
    assert os.getcwd() not in found


def test_the_fresh_folder_is_gone_after_a_failure_and_a_stop(tmp_path: Path) -> None:
    mark = tmp_path / "where"
    assert bash(f"pwd > {mark}; exit 1").outcome == "failed"
    assert not Path(mark.read_text().strip()).exists()
    told_to_stop_when_ready(f"pwd > {mark}; echo ready; sleep 60")
    assert not Path(mark.read_text().strip()).exists()


def test_cwd_is_where_it_runs_and_must_exist(tmp_path: Path) -> None:
    assert result(bash("pwd -P", cwd=str(tmp_path))) == str(tmp_path.resolve())
    assert "is not a folder" in bash("true", cwd=str(tmp_path / "missing")).reason


def test_output_is_decoded_and_processed() -> None:
    assert result(bash("printf '\\xe9'", output_encoding="latin-1")) == "é"
    assert result(bash("printf '\\xff'")) == "\\xff"
    assert result(bash("echo '{\"a\": 1}'", output_processor=len)) == 8


def test_a_timeout_ends_the_command_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = bash(
        f"trap '' TERM; sleep 60 & echo $! > {pids}; echo $$ >> {pids}; echo started; wait; sleep 60",
        execution_timeout=timedelta(seconds=0.5),
    )
    assert outcome.outcome == "timeout"
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 2
    eventually(lambda: not any(alive(pid) for pid in left), 10)


def test_what_a_command_prints_while_it_is_ended_reaches_the_log_and_ends_it_no_sooner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "cleaned"
    with caplog.at_level(logging.INFO):
        told_to_stop_when_ready(
            f"trap 'echo cleaning; printf %0100000d 0; echo; touch {mark}; exit 4' TERM; echo ready; sleep 47 & wait"
        )
    assert mark.exists()
    # The second line is more than a pipe holds.
    assert {"cleaning", "0" * 100_000, "Command exited with return code 4"} <= set(caplog.messages)


def test_a_command_that_is_told_to_stop_has_most_of_the_grace_to_clean_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execplane.sdk.operators.bash._TERM_SECONDS", 0.1)
    mark = tmp_path / "cleaned"
    told_to_stop_when_ready(f"trap 'sleep 1; touch {mark}; exit' TERM; echo ready; sleep 47 & wait")
    assert mark.exists()


def test_a_child_of_a_command_without_a_trap_may_clean_up_too(tmp_path: Path) -> None:
    mark = tmp_path / "cleaned"
    child = f"trap 'sleep 0.3; echo cleaned; touch {mark}; exit' TERM; echo ready; sleep 47 & wait"
    told_to_stop_when_ready(f'bash -c "{child}"; true')
    assert mark.exists()


def test_a_group_of_which_only_another_users_process_is_left_does_not_hide_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []

    def killpg(group: int, number: int) -> None:
        sent.append(number)
        if number == signal.SIGTERM:
            return kill_group(group, number)
        raise PermissionError(1, "Operation not permitted")  # as with `sudo -u other ...`, but for root

    kill_group = os.killpg
    monkeypatch.setattr(os, "killpg", killpg)
    told_to_stop_when_ready("echo ready; exec sleep 47")
    assert sent == [signal.SIGTERM, 0, signal.SIGKILL]


def test_a_daemon_that_keeps_the_output_open_does_not_keep_the_task(tmp_path: Path) -> None:
    pid, before = tmp_path / "pid", threading.active_count()
    told_to_stop_when_ready(f"setsid bash -c 'echo $$ > {pid}; echo ready; exec sleep 47' & sleep 47")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    eventually(lambda: threading.active_count() == before, 10)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_on_kill_from_another_thread_ends_the_command(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    with new_dag():
        operator = BashOperator(task_id="bash", bash_command=f"touch {mark}; sleep 60")
    found: list[Any] = []

    from execplane.contract.keys import TaskKey
    from execplane.sdk.context import Context
    from tests.unit.sdk.building import DictServices, HandClock

    key = TaskKey(dag_id="example", run_id="run", task_id="bash")
    context = Context(task=operator, key=key, claim=claim(), services=DictServices(), clock=HandClock())

    def work() -> None:
        try:
            operator.execute(context)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(mark.exists, 10)
    operator.on_kill()
    thread.join(20)
    assert "SIGTERM" in str(found[0])


def test_the_command_has_a_process_group_of_its_own_in_the_workers_session() -> None:
    group, session = result(bash("ps -o pgid=,sid= -p $$ 2>/dev/null || cut -d' ' -f5,6 /proc/$$/stat")).split()
    assert int(group) != os.getpgrp()
    assert int(session) == os.getsid(0)


def test_a_command_that_does_not_render_to_text_fails() -> None:
    with new_dag(render_template_as_native_obj=True) as dag:
        BashOperator(task_id="bash", bash_command="{{ 1 + 1 }}")
    assert "must be text" in run_task(dag, "bash").reason


def test_the_decorator_runs_the_command_that_the_function_gives() -> None:
    with new_dag() as dag:

        @task.bash(env={"WHO": "world"}, skip_on_exit_code=7)
        def greet(code: int, ds: str) -> str:
            return f"echo hello $WHO {ds} {{{{ run_id }}}}; exit {code}"

        greet(0)
        greet(7)
    assert result(run_task(dag, "greet")) == "hello world 2024-01-02 run"
    assert run_task(dag, "greet__1").outcome == "skipped"


def test_the_decorator_takes_none_for_no_exit_code_that_skips() -> None:
    with new_dag() as dag:

        @task.bash(skip_on_exit_code=None)
        def leave() -> str:
            return "exit 99"

        leave()
    assert run_task(dag, "leave").outcome == "failed"
