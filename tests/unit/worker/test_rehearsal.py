"""The zygote's rehearsal: every worker is forked from what it leaves behind, so it must leave nothing."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from execplane.worker.rehearsal import rehearse


def test_its_tasks_succeed_or_it_would_rehearse_the_wrong_thing() -> None:
    assert set(rehearse()) == {"success"}


def test_it_leaves_no_variable_module_path_thread_or_word(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rehearse()  # what is imported on the way stays, and is meant to
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = (dict(os.environ), list(sys.path), set(sys.modules), threading.active_count(), os.listdir("/proc/self/fd"))
    rehearse()
    after = (dict(os.environ), list(sys.path), set(sys.modules), threading.active_count(), os.listdir("/proc/self/fd"))
    assert after == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_cannot_be_written_to_costs_nothing_but_the_rehearsal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert rehearse() == []
