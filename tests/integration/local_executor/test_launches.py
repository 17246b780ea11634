"""The local executor launches attempts: each once, none at the cost of another, and no task sees its secrets."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.observations import Acknowledged, Gone, LaunchRefused
from execplane.executors.local import LocalExecutor
from execplane.executors.local_options import LocalOptions
from execplane.executors.local_zygote import environment
from execplane.executors.sequential import SequentialExecutor
from tests.integration.local_executor.conftest import Facts, intent
from tests.unit.worker.stub_api import StubApi


def test_an_attempt_is_launched_acknowledged_run_and_gone(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    executor.launch([intent(executor, 1, "quick")])
    gone = facts.await_one(Gone, 1)
    known = facts.await_one(Acknowledged, 1)
    assert known.uid == gone.uid == api.claims[0].uid
    assert (gone.diagnosis.category, gone.diagnosis.exit_code) == ("completed", 0)
    assert api.tokens[0] == "token-1"
    end = api.ends[1]
    assert end.outcome == "success", end
    assert msgspec.json.decode(end.xcoms[0].value) == {"answer": 42}
    assert end.map_length == 1
    assert any(message.startswith("quick is process") for message in api.messages(1))


def test_failures_and_crashes_hurt_nobody_else(
    executor: LocalExecutor, facts: Facts, api: StubApi, stop_file: Path
) -> None:
    names = ["waits", "fails", "crashes", "quick"]
    executor.launch([intent(executor, number, name) for number, name in enumerate(names, 1)])
    for number in (2, 3, 4):
        facts.await_one(Gone, number)
    assert api.ends[2].outcome == "failed"
    assert "a bad day" in api.ends[2].reason
    assert "killed by SIGSEGV" in api.ends[3].reason
    assert api.ends[4].outcome == "success"
    assert not facts.of(Gone, 1)
    stop_file.touch()
    facts.await_one(Gone, 1)
    assert api.ends[1].outcome == "success"


def test_a_duplicate_launch_of_a_living_attempt_is_acknowledged_as_the_same(
    executor: LocalExecutor, facts: Facts, api: StubApi, stop_file: Path
) -> None:
    waits = intent(executor, 1, "waits")
    executor.launch([waits, waits])
    first = facts.await_one(Acknowledged, 1)
    executor.launch([waits])
    second = facts.await_one(Acknowledged, 1, count=2)
    assert first.uid == second.uid
    stop_file.touch()
    facts.await_one(Gone, 1)
    assert len(api.claims) == 1


@pytest.mark.parametrize(
    ("task_id", "outcome", "said"),
    [
        ("slow", "timeout", "execution_timeout of 0.3 s"),
        ("sys_exit", "failed", "SystemExit: 3"),
        ("os_exit", "failed", "exited with code 3"),
    ],
)
def test_every_way_out_of_a_task_is_told(
    executor: LocalExecutor, facts: Facts, api: StubApi, task_id: str, outcome: str, said: str
) -> None:
    executor.launch([intent(executor, 1, task_id)])
    assert facts.await_one(Gone, 1).diagnosis.exit_code == 1
    assert api.ends[1].outcome == outcome
    assert said in api.ends[1].reason


def test_a_refused_worker_is_gone_with_that_reason(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    api.holders[1] = ("another", "nonce")
    executor.launch([intent(executor, 1, "quick")])
    assert facts.await_one(Gone, 1).diagnosis.category == "refused"


def test_tasks_see_neither_tokens_nor_settings(
    api: StubApi, options: LocalOptions, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECPLANE_SECRET_KEY", "do-not-tell")
    monkeypatch.setenv("EXECPLANE_VAR_PLACE", "kept")
    executor = LocalExecutor(options, clock=SystemClock(), mint_token=lambda start: "launch-secret")
    executor.start(facts)
    try:
        executor.launch([intent(executor, 1, "environment")])
        facts.await_one(Gone, 1)
    finally:
        executor.close()
    said = "\n".join(api.messages(1))
    assert "EXECPLANE_VAR_PLACE" in said
    assert "args" in said
    for secret in ("do-not-tell", "EXECPLANE_SECRET_KEY", "launch-secret", "attempt-token"):
        assert secret not in said


def test_an_intent_that_cannot_be_launched_does_not_stop_the_others(
    executor: LocalExecutor, facts: Facts, api: StubApi
) -> None:
    broken = msgspec.structs.replace(intent(executor, 1, "quick"), body=b"{}")
    executor.launch([broken, intent(executor, 2, "quick")])
    assert facts.await_one(LaunchRefused, 1).retry is False
    facts.await_one(Gone, 2)


def test_the_sequential_executor_is_the_local_one_with_one_slot(options: LocalOptions) -> None:
    executor = SequentialExecutor(options, clock=SystemClock(), mint_token=lambda start: "")
    assert (executor.name, executor.slots()) == ("sequential", 1)
    executor.close()


def test_only_named_settings_reach_the_zygote() -> None:
    source = {"PATH": "/bin", "EXECPLANE_HOME": "h", "EXECPLANE_CONN_A": "c", "EXECPLANE_DATABASE_URL": "d"}
    found = environment(source, ("EXECPLANE_HOME",))
    assert set(found) - {"PYTHONPATH"} == {"PATH", "EXECPLANE_HOME", "EXECPLANE_CONN_A"}
