"""Hooks that misbehave, in real processes: none of them stops, fools or outlives whoever builds pods."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import InvalidInput, NotYet
from execplane.kube.mutation_hook import MutationHook
from execplane.kube.mutation_messages import Loaded
from execplane.kube.mutation_process import HookDied, HookOptions, HookProcess, place_in
from tests.parts.eventually import eventually


class Clock:
    """Its time passes when told to: the pauses between starts are none of the machine's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


Made = Callable[..., MutationHook]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(tmp_path: Path, clock: Clock) -> Iterator[Made]:
    hooks: list[MutationHook] = []

    def make(text: str, **options: Any) -> MutationHook:
        (tmp_path / "airflow_local_settings.py").write_text(text)
        hook = MutationHook(HookOptions(**{"folders": (str(tmp_path),), "limit_seconds": 60, **options}), clock)  # type: ignore[arg-type]
        hooks.append(hook)
        return hook

    yield make
    for hook in hooks:
        hook.close()


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {}},
        "spec": {"containers": [{"name": "base"}]},
    }


def label(hook: MutationHook, name: str) -> str:
    """What the hook made of this pod's label."""
    ready(hook)
    mutate = hook.mutate()
    assert mutate is not None
    return str(mutate(pod(name)).after["metadata"]["labels"].get("by", ""))


def ready(hook: MutationHook) -> None:
    """Its process has imported what it needs: on a slow machine that takes more than one look."""
    eventually(lambda: "still being imported" not in hook.check(), 120)
    assert hook.check() == ""


def process_of(hook: MutationHook) -> int:
    assert hook._process is not None
    return hook._process.pid


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    # A zombie whom nobody has waited for yet does nothing any more.
    return status.rpartition(")")[2].split()[0] == "Z"


TALKATIVE = """
import os, subprocess, sys, threading
children = []

def pod_mutation_hook(pod):
    print("to standard output", flush=True)
    os.write(1, b"to its descriptor")
    os.system("echo from a child")
    children.append(subprocess.Popen(["sleep", "600"]))
    threading.Thread(target=threading.Event().wait).start()
    pod.metadata.labels["by"] = str(children[-1].pid)
"""


def test_what_a_hook_prints_is_not_taken_for_its_answer_and_what_it_started_ends_with_it(
    made: Made, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = made(TALKATIVE)
    started = [int(label(hook, name)) for name in "ab"]
    pid = process_of(hook)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("to standard output") == 2
    assert not any(is_gone(one) for one in [pid, *started])
    hook.close()
    eventually(lambda: all(is_gone(one) for one in [pid, *started]))


MOODY = """
import os, time, ctypes
from pathlib import Path

def pod_mutation_hook(pod):
    mood = pod.metadata.name
    if mood == "hangs":
        hang()
    elif mood == "raises":
        raise RuntimeError("no")
    elif mood == "exits":
        raise SystemExit(3)
    elif mood == "dies":
        os._exit(3)
    elif mood == "crashes":
        ctypes.string_at(0)
    elif mood == "eats":
        b"a" * (8 << 30)
    elif mood == "signals":
        os.kill(os.getpid(), 40)
    pod.metadata.labels["by"] = "hook"

def hang():
    time.sleep(600)
"""


def test_a_hook_that_raises_or_exits_costs_this_pod_only_and_not_even_its_process(made: Made) -> None:
    hook = made(MOODY)
    ready(hook)
    pid = process_of(hook)
    for mood in ("raises", "exits"):
        with pytest.raises(InvalidInput, match=r"airflow_local_settings.py:\d+"):
            label(hook, mood)
    assert (label(hook, "good"), process_of(hook)) == ("hook", pid)


def test_how_a_process_broke_is_told_with_the_line_of_the_hook(tmp_path: Path) -> None:
    (tmp_path / "airflow_local_settings.py").write_text(MOODY)
    said = {
        "hangs": r"did not return within 2 s \(.*airflow_local_settings.py:24\)\.",
        "crashes": r"ended by SIGSEGV \(.*airflow_local_settings.py:16\)\.",
        # One that has no name.
        "signals": r"ended by signal 40",
        "eats": r"ran out of memory: its process may have 1024 MiB \(.*airflow_local_settings.py:18\)\.",
    }
    processes = {
        mood: HookProcess(HookOptions(folders=(str(tmp_path),), limit_seconds=2 if mood == "hangs" else 60))
        for mood in said
    }
    try:
        for mood, process in processes.items():
            assert isinstance(process.loaded(120), Loaded)
            with pytest.raises(HookDied, match=said[mood]):
                process.mutate(pod(mood))
    finally:
        for process in processes.values():
            process.kill()
    assert all(is_gone(process.pid) for process in processes.values())


def test_a_pod_that_breaks_the_hook_waits_and_fails_only_when_the_hook_has_worked_for_another(
    made: Made, clock: Clock
) -> None:
    hook = made(MOODY)
    ready(hook)
    first = process_of(hook)
    with pytest.raises(NotYet, match="ended with exit code 3"):
        label(hook, "dies")
    assert is_gone(first)
    # While the next process may not start yet, nothing is tried, and everybody is told why.
    assert "ended with exit code 3" in hook.check()
    with pytest.raises(NotYet):
        hook.mutate()
    clock.seconds += 1
    assert label(hook, "good") == "hook"
    with pytest.raises(InvalidInput, match="ended with exit code 3") as refused:
        label(hook, "dies")
    assert "It works for other pods" in refused.value.hint


def test_a_hook_that_somebody_else_waited_for_has_ended(tmp_path: Path) -> None:
    (tmp_path / "airflow_local_settings.py").write_text(MOODY)
    process = HookProcess(HookOptions(folders=(str(tmp_path),), limit_seconds=60))
    try:
        assert isinstance(process.loaded(120), Loaded)
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        with pytest.raises(HookDied, match="ended"):
            process.mutate(pod("good"))
    finally:
        process.kill()


def test_after_a_fault_of_our_own_the_next_pod_gets_a_new_process(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*given: object) -> None:
        raise ZeroDivisionError

    hook = made(MOODY)
    ready(hook)
    pid = process_of(hook)
    with monkeypatch.context() as patch:
        patch.setattr(HookProcess, "mutate", fault)
        with pytest.raises(ZeroDivisionError):
            label(hook, "good")
    assert is_gone(pid)
    with monkeypatch.context() as patch:
        patch.setattr(HookProcess, "loaded", fault)
        with pytest.raises(ZeroDivisionError):
            hook.check()
    assert hook._process is None
    assert label(hook, "good") == "hook"


def test_a_hook_that_hangs_for_all_fails_nobody_and_is_started_ever_more_rarely(made: Made, clock: Clock) -> None:
    hook = made("import time\ndef pod_mutation_hook(pod):\n    time.sleep(600)\n", limit_seconds=1)
    for pause, name in ((1, "a"), (2, "b")):
        ready(hook)
        mutate = hook.mutate()
        assert mutate is not None
        with pytest.raises(NotYet, match=r"airflow_local_settings.py:3\)"):
            mutate(pod(name))
        clock.seconds += pause - 0.1
        assert "did not return" in hook.check()
        assert hook._process is None
        clock.seconds += 0.1


def test_a_module_that_cannot_be_imported_holds_launches_until_it_is_mended(made: Made, clock: Clock) -> None:
    hook = made("\nimport no_such_module\n")
    eventually(lambda: "still being imported" not in hook.check(), 120)
    assert "No module named 'no_such_module' (" in hook.check()
    assert "airflow_local_settings.py:2" in hook.check()
    with pytest.raises(NotYet):
        hook.mutate()
    Path(hook._options.folders[0], "airflow_local_settings.py").write_text(MOODY)
    clock.seconds += 1
    assert label(hook, "good") == "hook"


def test_a_module_that_hangs_while_it_is_imported_is_named_with_its_line(made: Made) -> None:
    hook = made("import time\ntime.sleep(600)\n", start_seconds=0.5, limit_seconds=0.01)
    # Nobody waits for it, but for a moment in the first look.
    assert "still being imported" in hook.check()
    eventually(lambda: "was not imported within 0.5 s" in hook.check(), 120)
    assert "airflow_local_settings.py:2" in hook.check()


def test_settings_without_a_hook_leave_no_process_behind(made: Made) -> None:
    hook = made("def task_policy(task): ...\n")
    ready(hook)
    assert (hook.mutate(), hook._process) == (None, None)


def test_where_no_hook_can_be_no_process_is_started(tmp_path: Path, clock: Clock) -> None:
    hook = MutationHook(HookOptions(folders=(str(tmp_path),)), clock)  # type: ignore[arg-type]
    assert (hook.check(), hook.mutate(), hook._process) == ("", None, None)


def test_it_ends_when_its_driver_does(made: Made) -> None:
    hook = made(MOODY)
    ready(hook)
    pid = process_of(hook)
    assert hook._process is not None
    # What a kill -9 of the driver leaves of its end.
    hook._process._socket.close()
    eventually(lambda: is_gone(pid))


TRACE = """Timeout (0:00:01)!
Thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait
  File "/usr/lib/python3.11/threading.py", line 975 in run

Thread 0x00007f2 (most recent call first):
  File "/venv/site-packages/requests/api.py", line 59 in get
  File "/etc/airflow/policy.py", line 12 in inner
  File "/etc/airflow/policy.py", line 7 in pod_mutation_hook
  File "/venv/site-packages/execplane/kube/mutation.py", line 130 in run_hooks
  File "/venv/site-packages/execplane/kube/mutation_child.py", line 70 in serve
"""


def test_the_place_where_it_hangs_is_the_innermost_line_of_the_operators_own_file() -> None:
    assert place_in(TRACE, ["/etc/airflow/policy.py"]) == " (/etc/airflow/policy.py:12)"
    assert place_in(TRACE, []) == " (/etc/airflow/policy.py:7)"
    assert place_in("", []) == ""
