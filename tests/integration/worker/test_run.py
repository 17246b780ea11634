"""One attempt's way through the worker, judged by what the API heard."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from execplane.contract.logs import LogRecord
from execplane.contract.messages import SecretValue, Verdict
from execplane.contract.process import ExitCode, all_processes, process_info
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi
from tests.unit.worker.workers import Workers


def test_an_attempt_is_claimed_run_and_ended(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("nothing")
    assert worker.wait(20) == 0, worker.communicate()
    assert [claim.attempt_id for claim in api.claims] == [1]
    end = api.ends[1]
    assert end.outcome == "success"
    assert end.user_code_started_at is not None
    assert end.user_code_started_at <= end.ended_at
    assert end.peak_memory_bytes is not None
    assert end.peak_memory_bytes > 1 << 20
    assert api.tokens == ["launch-token", "attempt-token"]


def test_every_kind_of_output_becomes_a_line_with_a_gapless_offset(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("talk")
    assert worker.wait(20) == 0, worker.communicate()
    records = api.records()
    assert [record.offset for record in records] == list(range(len(records)))
    printed = [(r.level, r.message) for r in records if r.stream == "stdout"]
    # A subprocess writes to a pipe of its own: where its lines fall among the task's is not promised.
    printed.remove(("INFO", "from a subprocess"))
    assert printed == [("INFO", "printed twice"), ("INFO", "on two lines"), ("INFO", "no newline at the end")]
    assert ("my.logger", "WARNING", "logged well") in [(r.logger, r.level, r.message) for r in records]
    assert {r.message for r in records if r.stream == "stderr"} == {"to stderr", "and its stderr"}
    assert api.ends[1].log_offset == len(records)


def test_a_lost_claim_answer_is_asked_for_again_under_the_same_nonce(api: StubApi, start_worker: Workers) -> None:
    api.lose_answers["claim"] = 2
    worker = start_worker("nothing")
    assert worker.wait(20) == 0, worker.communicate()
    assert len(api.claims) == 3
    assert len({claim.nonce for claim in api.claims}) == 1
    assert api.ends[1].outcome == "success"


def test_a_lost_end_answer_is_repeated_and_changes_nothing(api: StubApi, start_worker: Workers) -> None:
    api.lose_answers["end"] = 1
    worker = start_worker("nothing")
    assert worker.wait(20) == 0, worker.communicate()
    assert api.requests["end"] == 2


def test_not_yet_is_asked_again_soon(api: StubApi, start_worker: Workers) -> None:
    api.statuses["claim"] = [425, 425, 503, 425]
    worker = start_worker("nothing", backoff_first_seconds=0.01)
    assert worker.wait(20) == 0, worker.communicate()
    assert api.requests["claim"] == 5


def test_a_fenced_worker_runs_nothing(api: StubApi, start_worker: Workers, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    api.holders[1] = ("another uid", "another nonce")
    worker = start_worker("touch", str(witness))
    assert worker.wait(20) == ExitCode.REFUSED
    assert "refused" in worker.communicate()[1]
    assert not witness.exists()
    assert api.ends == {}


def test_the_witness_of_the_fence_test_sees_code_that_runs(api: StubApi, start_worker: Workers, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    worker = start_worker("touch", str(witness))
    assert worker.wait(20) == 0, worker.communicate()
    assert witness.read_text() == "ran\n"


def test_a_claim_gives_up_when_the_api_stays_away(api: StubApi, start_worker: Workers) -> None:
    api.go_down()
    worker = start_worker("nothing", claim_patience_seconds=0.5)
    assert worker.wait(20) == ExitCode.NO_CLAIM
    assert api.claims == []


def test_what_waits_for_a_claim_ends_with_the_worker_that_gives_up_or_is_killed(
    api: StubApi, start_worker: Workers, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    api.go_down()
    waiting = []
    for end in (signal.SIGTERM, signal.SIGKILL):
        worker = start_worker("touch", str(witness), claim_patience_seconds=60.0)
        waiting.append(eventually(lambda: next((one.pid for one in all_processes() if one.ppid == worker.pid), None)))  # noqa: B023
        os.kill(worker.pid, end)
        assert worker.wait(20) == (ExitCode.NO_CLAIM if end == signal.SIGTERM else -signal.SIGKILL)
    eventually(lambda: all((info := process_info(pid)) is None or info.state == "Z" for pid in waiting))
    assert not witness.exists()


def test_an_outage_loses_neither_log_nor_result(api: StubApi, start_worker: Workers, tmp_path: Path) -> None:
    """The self-fence is 20 times as long as the outage here, and twice as long in production."""
    stop = tmp_path / "stop"
    worker = start_worker("ticks", str(stop), log_memory_bytes=2000)
    eventually(lambda: len(api.messages()) >= 2)
    assert api.beats or eventually(lambda: api.beats)
    api.go_down()
    spill = tmp_path / "work" / "logs"
    eventually(lambda: any(path.stat().st_size > 1000 for path in spill.glob("1-*.jsonl")))
    stop.touch()
    eventually(lambda: api.requests and worker.poll() is None)
    api.down = False
    assert worker.wait(30) == 0, worker.communicate()
    end = api.ends[1]
    assert end.outcome == "success"
    ticks = int(bytes(end.xcoms[0].value))
    assert api.messages() == [f"tick {number}" for number in range(ticks)]
    assert end.log_offset == ticks
    assert not list(spill.glob("*"))


def test_a_worker_without_contact_kills_its_task(api: StubApi, start_worker: Workers) -> None:
    api.answer = msgspec.structs.replace(api.answer, self_fence_seconds=1.0)
    worker = start_worker("hang", end_patience_seconds=20.0)
    sleeper = _sleeper(api)
    api.go_down()
    eventually(lambda: process_info(sleeper) is None, on_failure="the task outlived the self-fence")
    assert api.ends == {}
    api.down = False
    assert worker.wait(20) == ExitCode.FAILED
    assert api.ends[1].outcome == "terminated"
    assert "no contact with the API for 1 s" in api.ends[1].reason


def test_an_attempt_taken_away_is_killed_and_not_reported(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("hang")
    sleeper = _sleeper(api)
    api.fenced = True
    assert worker.wait(20) == ExitCode.REFUSED
    assert process_info(sleeper) is None
    assert api.ends == {}


def test_sigterm_calls_on_kill_and_ends_as_terminated(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("polite", in_pod=True)
    eventually(lambda: "waiting" in api.messages())
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(20) == ExitCode.FAILED
    assert "on_kill was called" in api.messages()
    end = api.ends[1]
    assert end.outcome == "terminated"
    assert end.reason == "terminated by SIGTERM, because the pod was deleted or evicted, or its node is drained"


def test_an_order_to_stop_names_who_gave_it(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("polite")
    eventually(lambda: "waiting" in api.messages())
    api.stop_reason = "cancelled by alice"
    assert worker.wait(20) == ExitCode.FAILED
    assert (api.ends[1].outcome, api.ends[1].reason) == ("terminated", "cancelled by alice")


def test_sigterm_asks_the_api_who_wanted_it(api: StubApi, start_worker: Workers) -> None:
    """The executor's SIGTERM mostly comes before the next heartbeat would have brought the reason."""
    api.answer = msgspec.structs.replace(api.answer, heartbeat_seconds=600.0)
    worker = start_worker("polite")
    eventually(lambda: "waiting" in api.messages())
    api.stop_reason = "cancelled by alice"
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(20) == ExitCode.FAILED
    assert api.ends[1].reason == "cancelled by alice"


def test_a_task_deaf_to_sigterm_is_killed_with_all_its_processes(api: StubApi, start_worker: Workers) -> None:
    api.answer = msgspec.structs.replace(api.answer, grace_seconds=0.5)
    worker = start_worker("hang")
    sleeper = _sleeper(api)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(20) == ExitCode.FAILED
    assert process_info(sleeper) is None
    assert api.ends[1].outcome == "terminated"
    assert "did not stop within 0.4 s and was killed" in api.ends[1].reason


def test_a_task_deaf_to_its_timeout_is_killed(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("hang", "0.1", timeout_margin_seconds=0.2)
    assert worker.wait(20) == ExitCode.FAILED
    assert api.ends[1].outcome == "timeout"


def test_a_dag_file_that_hangs_at_import_is_killed(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("hang_at_import", import_timeout_seconds=0.3)
    assert worker.wait(20) == ExitCode.FAILED
    end = api.ends[1]
    assert (end.outcome, end.error and end.error.type) == ("failed", "ImportTimeout")
    assert end.user_code_started_at is None


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_of_user_code_is_told_with_its_signal_and_last_lines(
    api: StubApi, start_worker: Workers, number: signal.Signals
) -> None:
    worker = start_worker("kill_self", str(int(number)))
    assert worker.wait(20) == ExitCode.FAILED
    end = api.ends[1]
    assert end.outcome == "failed"
    assert f"killed by {number.name}" in end.reason
    messages = api.messages()
    assert messages[0] == "last words"
    assert messages[-1] == end.reason


def test_a_hard_exit_of_user_code_is_told_with_its_code(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("exit_hard")
    assert worker.wait(20) == ExitCode.FAILED
    assert "exited with code 7" in api.ends[1].reason
    assert "last words" in api.messages()


def test_what_a_task_leaves_running_is_killed_at_its_end(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("leave_behind")
    assert worker.wait(20) == 0, worker.communicate()
    assert process_info(int(api.messages()[0].split()[1])) is None


def test_a_swarm_of_processes_dies_on_cancel(api: StubApi, start_worker: Workers) -> None:
    api.answer = msgspec.structs.replace(api.answer, grace_seconds=0.2)
    worker = start_worker("swarm")
    said = eventually(lambda: found if len(found := api.messages()) == 16 else None)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(20) == ExitCode.FAILED
    assert [message for message in said if process_info(int(message.split()[1])) is not None] == []


def test_the_kernel_is_told_to_take_the_task_before_its_supervisor(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("oom_score", task_oom_score=300)
    assert worker.wait(20) == 0, worker.communicate()
    assert api.messages() == ["300"]


def test_a_killed_worker_takes_its_task_along(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("hang")
    _sleeper(api)
    (task,) = [info for info in all_processes() if info.ppid == worker.pid]
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: (info := process_info(task.pid)) is None or info.state == "Z")


def test_large_xcoms_go_to_the_blob_store_and_come_back(api: StubApi, start_worker: Workers) -> None:
    api.variables["a key/with: odd characters"] = SecretValue(value="v")
    worker = start_worker("use_services", "2000000")
    assert worker.wait(30) == 0, worker.communicate()
    end = api.ends[1]
    assert end.outcome == "success", end
    (blob,) = api.blobs
    assert end.xcoms[0].blob == blob == api.xcoms[("task", "big", -1)].blob
    assert len(api.blobs[blob]) == 2_000_002
    assert "variable v None" in api.messages()


def test_a_large_error_does_not_spoil_the_report(api: StubApi, start_worker: Workers, tmp_path: Path) -> None:
    last_words = tmp_path / "termination-log"
    last_words.touch()
    worker = start_worker("big_result", termination_log=str(last_words))
    assert worker.wait(20) == ExitCode.FAILED
    error = api.ends[1].error
    assert error is not None
    assert len(error.message) == 100_000
    verdict = msgspec.json.decode(last_words.read_bytes(), type=Verdict)
    assert last_words.stat().st_size <= 4096
    assert (verdict.outcome, verdict.reported, verdict.attempt_id) == ("failed", True, 1)
    assert verdict.error is not None
    assert verdict.error.type == "ValueError"


def test_an_end_that_cannot_be_delivered_stands_in_the_termination_message(
    api: StubApi, start_worker: Workers, tmp_path: Path
) -> None:
    last_words, stop = tmp_path / "termination-log", tmp_path / "stop"
    last_words.touch()
    worker = start_worker("ticks", str(stop), termination_log=str(last_words), end_patience_seconds=0.5)
    eventually(lambda: api.messages())
    api.go_down()
    stop.touch()
    assert worker.wait(20) == ExitCode.UNREPORTED
    verdict = msgspec.json.decode(last_words.read_bytes(), type=Verdict)
    assert (verdict.outcome, verdict.reported) == ("success", False)


def test_heartbeats_carry_offset_and_rendered_fields_once_and_bring_tokens(
    api: StubApi, start_worker: Workers, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    worker = start_worker("ticks", str(stop))
    eventually(lambda: len(api.beats) >= 2)
    api.renewed_token = "renewed-token"
    eventually(lambda: "renewed-token" in api.tokens)
    stop.touch()
    assert worker.wait(20) == 0, worker.communicate()
    assert [beat.rendered for beat in api.beats[:2]] == [{"bash_command": "echo"}, None]
    assert api.beats[-1].log_offset >= api.beats[0].log_offset
    assert api.tokens[-1] == "renewed-token"


@pytest.mark.parametrize("user_code", ["flood", "raw_flood"])
def test_a_huge_log_arrives_whole_and_in_order(api: StubApi, start_worker: Workers, user_code: str) -> None:
    lines = 100_000
    worker = start_worker(user_code, str(lines), log_memory_bytes=1 << 20)
    assert worker.wait(90) == 0, worker.communicate()
    messages = api.messages()
    assert len(messages) == lines
    first = 0 if user_code == "flood" else 1
    assert [int(message.split()[0]) for message in messages] == list(range(first, lines + first))


def test_pods_copy_each_record_with_its_offset_to_stdout(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("talk", log_copy=True)
    out, _ = worker.communicate(timeout=20)
    copied = [msgspec.json.decode(line, type=LogRecord) for line in out.splitlines()]
    assert copied == api.records()


def _sleeper(api: StubApi) -> int:
    """The pid of the grandchild that `hang` starts."""
    return int(eventually(lambda: [m for m in api.messages() if m.startswith("sleeper")])[0].split()[1])


def test_a_report_that_the_api_does_not_take_is_reported_as_that(api: StubApi, start_worker: Workers) -> None:
    api.statuses["end"] = [413]
    worker = start_worker("talk")
    assert worker.wait(20) == ExitCode.SUCCESS, "the exit code tells what the task did"
    end = api.ends[1]
    assert end.outcome == "failed"
    assert "ended as 'success', but the API refused its report" in end.reason


def test_refused_log_lines_do_not_cost_the_report(api: StubApi, start_worker: Workers) -> None:
    api.statuses["logs"] = [400] * 1000
    worker = start_worker("flood", "20000", log_batch_bytes=1000)
    assert worker.wait(30) == ExitCode.SUCCESS
    assert api.ends[1].outcome == "success"
    assert "Log lines were refused" in worker.communicate()[1]


def test_a_terminated_worker_keeps_offering_its_end_without_hurry(api: StubApi, start_worker: Workers) -> None:
    worker = start_worker("polite", backoff_first_seconds=0.1)
    eventually(lambda: "waiting" in api.messages())
    api.go_down()
    os.kill(worker.pid, signal.SIGTERM)
    eventually(lambda: len([info for info in all_processes() if info.ppid == worker.pid]) == 0)
    tries = api.refused_connections
    eventually(lambda: api.refused_connections >= tries + 3)
    before = _cpu_seconds(worker.pid)
    tries = api.refused_connections
    eventually(lambda: api.refused_connections >= tries + 5)
    assert _cpu_seconds(worker.pid) - before < 0.1
    api.down = False
    assert worker.wait(20) == ExitCode.FAILED
    assert api.ends[1].outcome == "terminated"


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
