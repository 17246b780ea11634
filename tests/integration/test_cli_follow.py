"""What `dags trigger --wait` says while a run goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from execplane.cli import follow
from execplane.store.queries.tasks import Cell


def test_a_task_mapped_many_times_is_told_in_tenths(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    done = 0
    monkeypatch.setattr(follow, "remark", said.append)

    def cells(pks: list[int]) -> dict[int, dict[str, Cell]]:
        states = {"success": done, "running": 300 - done} if done < 300 else {"success": 300}
        state = "running" if done < 300 else "success"
        return {1: {"each": Cell(task_id="each", state=state, try_number=1, states=states)}}

    monkeypatch.setattr("execplane.store.queries.tasks.cells", cells)
    progress = follow._Progress()
    run: Any = SimpleNamespace(id=1)
    for done in range(301):  # noqa: B007 - read by cells()
        progress.tell(run)
    assert len(said) == 11
    assert said[0] == "  each: running (0 of 300 succeeded)"
    assert said[-1] == "  each: success (300 of 300 succeeded)"
