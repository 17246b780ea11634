"""One deployment with every bad file side by side with a good one: what is broken must hurt nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.bad_input import dag_files
from tests.parts.eventually import eventually
from tests.parts.standalone import Standalone


@dataclass(kw_only=True)
class Deployed:
    """The shared deployment, and the marks that its tasks and files look for."""

    standalone: Standalone
    dags: Path
    marks: Path

    def attempt(self, dag_id: str, *, state: str = "") -> dict[str, Any]:
        """Trigger the DAG and give its one attempt once it is in the state (any end by default)."""
        self.standalone.run("dags", "trigger", dag_id)
        return self.wait_for_attempt(dag_id, state=state)

    def wait_for_attempt(self, dag_id: str, *, state: str = "", task_id: str = "") -> dict[str, Any]:
        wanted = (state,) if state else ("success", "failed")

        def found() -> dict[str, Any] | None:
            rows = self.standalone.json("attempts", "list", dag_id)
            fit = [row for row in rows if row["state"] in wanted and task_id in ("", row["task_id"])]
            return fit[0] if fit else None

        return eventually(found, 30, on_failure=self.standalone.tail, interval_seconds=0.3)

    def explain(self, attempt: dict[str, Any]) -> str:
        """What the command line tells of it, after a look that the page tells the same reason."""
        told = self.standalone.run("attempts", "explain", str(attempt["id"]))
        assert self.standalone.get(f"/attempts/{attempt['id']}")
        return told


def import_errors(standalone: Standalone) -> dict[str, dict[str, Any]]:
    """Import errors by file; the command ends with 1 when there are some."""
    told = standalone.run("dags", "import-errors", "--output", "json", ok=False).strip()
    return {row["file"]: row for row in json.loads(told)} if told else {}


@pytest.fixture(scope="package")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    root = tmp_path_factory.mktemp("bad_input")
    marks = root / "marks"
    marks.mkdir()
    names = [
        name
        for name in vars(dag_files)
        if name.isupper() and name not in ("WAITS", "BAD_OVERRIDE", "EXECUTOR_TAKEN_OUT")
    ]
    places = {"FLAG": marks / "flag", "STARTED": marks / "started", "GO_ON": marks / "go_on"}
    dag_files.write(
        root / "dags", places=places, **{name.lower().lstrip("_"): getattr(dag_files, name) for name in names}
    )
    one = Standalone(root / "home", root / "dags", parsing__timeout_seconds="2")
    one.start()
    try:
        yield Deployed(standalone=one, dags=root / "dags", marks=marks)
    finally:
        one.stop()


@pytest.fixture(scope="package")
def errors(deployed: Deployed) -> dict[str, dict[str, Any]]:
    """Import errors by file, once every file was looked at."""
    last = {"endless_loop.py", "too_much_memory.py", "prints_much.py", "unsupported_import.py", "cycle.py"}

    def all_found() -> dict[str, dict[str, Any]] | None:
        found = import_errors(deployed.standalone)
        return found if last <= set(found) else None

    return eventually(all_found, 60, on_failure=deployed.standalone.tail, interval_seconds=0.5)
