"""What is stopped, killed or cleaned up by the local executor is gone with all its processes, and said to be."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from pathlib import Path

import pytest

from execplane.contract.observations import Acknowledged, Cleaned, Gone
from execplane.contract.process import ProcessInfo, living_pid, process_info
from execplane.contract.states import AttemptState
from execplane.executors import local_leftovers
from execplane.executors.local import LocalExecutor
from tests.integration.local_executor.conftest import Facts, handle, intent, is_dead, sleeper
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi


def test_stop_ends_a_polite_task_as_terminated(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    waits = intent(executor, 1, "waits")
    executor.launch([waits])
    process = sleeper(api, 1)
    api.stop_reason = "cancelled by alice"
    executor.stop([handle(waits, facts.await_one(Acknowledged, 1).uid)], grace_seconds=10)
    gone = facts.await_one(Gone, 1)
    assert gone.diagnosis.exit_code == 1
    assert (api.ends[1].outcome, api.ends[1].reason) == ("terminated", "cancelled by alice")
    assert process_info(process) is None


@pytest.mark.parametrize("task_id", ["careful", "bash"])
def test_stop_calls_the_operators_on_kill(executor: LocalExecutor, facts: Facts, api: StubApi, task_id: str) -> None:
    careful = intent(executor, 1, task_id)
    executor.launch([careful])
    process = sleeper(api, 1)
    executor.stop([handle(careful, facts.await_one(Acknowledged, 1).uid)], grace_seconds=10)
    facts.await_one(Gone, 1)
    assert (api.ends[1].outcome, api.ends[1].reason) == ("terminated", "terminated by SIGTERM")
    assert process_info(process) is None
    if task_id == "careful":
        assert "on_kill was called" in api.messages(1)


def test_stop_kills_what_is_deaf_and_all_its_processes(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    deaf = intent(executor, 1, "deaf")
    executor.launch([deaf])
    process = sleeper(api, 1)
    api.go_down()  # so that the worker itself cannot end, either
    executor.stop([handle(deaf, facts.await_one(Acknowledged, 1).uid)], grace_seconds=0.1)
    gone = facts.await_one(Gone, 1)
    assert gone.diagnosis.category == "stopped"
    eventually(lambda: is_dead(process))


def test_stop_of_something_gone_is_a_gone(executor: LocalExecutor, facts: Facts) -> None:
    executor.stop([handle(intent(executor, 1, "quick"), "no-boot:1:1")], grace_seconds=0)
    assert facts.await_one(Gone, 1).finished is False


def test_a_killed_worker_is_gone_and_its_orphans_are_killed(
    executor: LocalExecutor, facts: Facts, api: StubApi
) -> None:
    executor.launch([intent(executor, 1, "deaf")])
    process = sleeper(api, 1)
    pid = living_pid(facts.await_one(Acknowledged, 1).uid)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    gone = facts.await_one(Gone, 1)
    assert is_dead(process)
    assert (gone.diagnosis.category, gone.diagnosis.exit_code) == ("signal", 137)
    assert "killed by SIGKILL" in gone.diagnosis.sentence


def test_clean_of_what_was_told_as_gone_tells_it_no_more_and_looks_for_nothing(
    executor: LocalExecutor, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for: list[str] = []

    def find(uids: Collection[str]) -> dict[str, list[ProcessInfo]]:
        looked_for.extend(uids)
        return {}

    monkeypatch.setattr(local_leftovers, "find", find)
    quick = intent(executor, 1, "quick")
    executor.launch([quick])
    uid = facts.await_one(Gone, 1).uid
    executor.clean([handle(quick, uid)], outcome=AttemptState.SUCCESS)
    facts.await_one(Cleaned, 1)
    assert len(facts.of(Gone, 1)) == 1
    assert looked_for == []


def test_clean_deletes_unsent_lines_and_says_so(executor: LocalExecutor, facts: Facts, tmp_path: Path) -> None:
    left = tmp_path / "work" / "logs" / "1-abc.jsonl"
    other = left.with_name("11-abc.jsonl")
    left.parent.mkdir(parents=True)
    left.touch()
    other.touch()
    executor.clean([handle(intent(executor, 1, "quick"), "")], outcome=AttemptState.FAILED)
    facts.await_one(Cleaned, 1)
    assert (left.exists(), other.exists()) == (False, True)
