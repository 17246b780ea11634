"""The channel between supervisor and task, and the pipe between executor and zygote."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.process import (
    Exited,
    Frames,
    boot_id,
    frame,
    living_pid,
    process_info,
    process_uid,
)
from execplane.worker.channel import MESSAGE_BYTES, Channel, Line, Result, TokenPage
from tests.parts.eventually import scaled
from tests.unit.worker.stub_api import MOMENT


def test_messages_arrive_whole_and_long_lines_in_pieces() -> None:
    channel = Channel("token")
    end = channel.child_end()
    text = "\U0001f600" * 20_000
    end.line(text, at=MOMENT)
    got = ""
    while (message := channel.receive()) is not None:
        assert isinstance(message, Line)
        assert len(message.message.encode()) < MESSAGE_BYTES
        got += message.message
    assert got == text
    channel.close()
    channel.into_supervisor()


def test_a_result_is_there_whole_or_not_at_all() -> None:
    channel = Channel("token")
    assert channel.result() is None
    channel.child_end().finish(Result(outcome="success", reason="x" * 1_000_000))
    result = channel.result()
    assert result is not None
    assert len(result.reason) == 1_000_000
    channel.close()
    channel.into_supervisor()


def test_a_large_briefing_does_not_wait_for_a_task_that_does_not_read_it() -> None:
    channel = Channel("token")
    briefing = b"x" * 1_000_000
    pid = fork_task(channel, expected=briefing, stopped=True)
    os.waitpid(pid, os.WUNTRACED)
    writing = threading.Thread(target=channel.brief, args=(briefing,), daemon=True)
    writing.start()
    writing.join(scaled(10))
    waited = writing.is_alive()
    os.kill(pid, signal.SIGCONT)
    assert os.waitpid(pid, 0) == (pid, 0)
    assert not waited
    channel.close()


@pytest.mark.parametrize("written", [b"", b"the first half of a"])
def test_a_supervisor_that_dies_before_it_has_briefed_leaves_no_briefing(written: bytes) -> None:
    channel = Channel("token")
    pid = fork_task(channel, expected=b"")
    os.write(channel._briefing_fd, written)
    channel.close()
    assert os.waitpid(pid, 0) == (pid, 0)


def fork_task(channel: Channel, *, expected: bytes, stopped: bool = False) -> int:
    """Its exit code is 0 when the briefing was the expected one."""
    pid = os.fork()
    if pid == 0:
        try:
            end = channel.into_child()
            if stopped:
                os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0 if end.briefing() == expected else 1)
        finally:
            os._exit(2)
    channel.into_supervisor()
    return pid


def test_the_end_of_the_tasks_side_is_told() -> None:
    channel = Channel("token")
    channel.into_supervisor()
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()


@given(st.lists(st.text(max_size=300), min_size=1, max_size=5))
def test_a_token_page_holds_the_last_token(tokens: list[str]) -> None:
    page = TokenPage("first")
    for token in tokens:
        page.write(token)
        assert page.read() == token


def test_a_token_that_does_not_fit_is_refused() -> None:
    page = TokenPage("first")
    with pytest.raises(ValueError, match="16 KiB"):
        page.write("x" * 20_000)
    assert page.read() == "first"


@given(st.lists(st.integers(0, 2**31), max_size=10), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(pids: list[int], step: int) -> None:
    data = b"".join(frame(Exited(pid=pid, status=0)) for pid in pids)
    frames = Frames()
    bodies = [body for at in range(0, len(data), step) for body in frames.feed(data[at : at + step])]
    assert b"".join(len(body).to_bytes(4, "big") + body for body in bodies) == data
    assert len(bodies) == len(pids)


def test_a_process_is_known_by_boot_pid_and_start() -> None:
    uid = process_uid(os.getpid())
    assert living_pid(uid) == os.getpid()
    boot, pid, ticks = uid.split(":")
    assert boot == boot_id()
    assert living_pid(f"{boot}:{pid}:{int(ticks) + 1}") is None
    assert living_pid(f"another:{pid}:{ticks}") is None
    assert living_pid("") is None
    assert living_pid("not a uid") is None


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert living_pid(process_uid(pid)) is None
    os.waitpid(pid, 0)
    assert process_info(pid) is None


def test_a_commands_brackets_do_not_confuse_the_reader(tmp_path: Path) -> None:
    name = tmp_path / "a) R 1 (b"
    name.symlink_to("/bin/sleep")
    pid = os.posix_spawn(str(name), [str(name), "30"], {})
    try:
        info = process_info(pid)
        assert info is not None
        assert info.ppid == os.getpid()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
