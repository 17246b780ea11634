"""The benchmarks' own arithmetic: a bar that is met by mistake would be worse than none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import processes
from bench.bench_pods import CreatesSeen
from bench.dag_files import chain_of, fan_of, five_tasks
from bench.figures import Figure, Scale, table, write


def test_a_bar_is_at_most_unless_it_is_at_least() -> None:
    assert Figure(name="a", value=1.0, unit="s", bar=1.0).met is True
    assert Figure(name="a", value=1.1, unit="s", bar=1.0).met is False
    assert Figure(name="a", value=0.4, unit="of raw", bar=0.4, at_least=True).met is True
    assert Figure(name="a", value=0.3, unit="of raw", bar=0.4, at_least=True).met is False
    assert Figure(name="a", value=0.3, unit="s").met is None


def test_results_have_the_promised_fields(tmp_path: Path) -> None:
    write([Figure(name="a", value=2.0, unit="s", reference=8.0, bar=1.0)], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == [
        {"name": "a", "value": 2.0, "unit": "s", "reference": 8.0, "ratio": 0.25, "bar": 1.0, "met": False}
    ]


def test_the_table_says_what_was_missed_and_how_it_stands_beside_the_reference() -> None:
    lines = table(
        [
            Figure(name="slow", value=2.0, unit="s", reference=8.0, bar=1.0),
            Figure(name="rate", value=0.5, unit="of raw", bar=0.4, at_least=True),
            Figure(name="reported", value=12.0, unit="ms"),
        ]
    ).splitlines()
    assert lines[1].split() == ["slow", "2.000", "s", "8.000", "0.250", "<=", "1", "NO"]
    assert lines[2].split()[-3:] == [">=", "0.4", "yes"]
    assert lines[3].split() == ["reported", "12.0", "ms"]


def test_a_small_scale_measures_less_but_never_nothing() -> None:
    small, full = Scale(factor=0.05), Scale()
    assert (full.count(500), small.count(500), small.count(100, least=20)) == (500, 25, 20)
    assert (full.repeats(5), small.repeats(5)) == (5, 1)
    assert (full.seconds(20, least=3), small.seconds(20, least=3)) == (20, 3)


@pytest.mark.parametrize(
    ("dag_id", "source", "tasks"),
    [("chain", chain_of("chain", 3), 3), ("fan", fan_of("fan", 4), 4), ("pipeline_0007", five_tasks(7), 5)],
)
def test_the_measured_files_are_dags(dag_id: str, source: str, tasks: int, tmp_path: Path) -> None:
    path = tmp_path / "measured.py"
    path.write_text(source)
    code = (
        "import sys; from pathlib import Path; from execplane.sdk import loader; path = Path(sys.argv[1]);"
        "print(len(loader.load_file(path, path.parent).dag(sys.argv[2]).task_dict))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), dag_id], stdout=subprocess.PIPE, timeout=60, check=True
    )
    assert int(done.stdout) == tasks


def fake(monkeypatch: pytest.MonkeyPatch, outcome: float | Exception) -> None:
    def measure(name: str, scale: Scale) -> list[Figure]:
        if isinstance(outcome, Exception):
            raise outcome
        return [Figure(name=name, value=outcome, unit="s", bar=1.0)]

    monkeypatch.setattr(command, "measure", measure)


def run(tmp_path: Path) -> int:
    return command.main(["--only", "import", "--output", str(tmp_path / "results.json")])


def test_a_missed_bar_is_said_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, 3.0)
    assert run(tmp_path) == 0
    assert "Not met: import." in capsys.readouterr().out


def test_a_benchmark_that_breaks_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, RuntimeError("it rotted"))
    assert run(tmp_path) == 1
    shown = capsys.readouterr()
    assert "Broken: import." in shown.out
    assert "it rotted" in shown.err


def test_every_benchmark_has_a_run() -> None:
    assert command.names() == ["import", "idle", "local", "worker", "parse", "pods", "latency", "running"]


def test_creates_are_counted_from_the_end_of_the_audit_log_on_line_by_line(tmp_path: Path) -> None:
    def line(namespace: str, code: int, second: int, **more: str) -> bytes:
        event = {
            "verb": "create",
            "objectRef": {"resource": "pods", "namespace": namespace, **more},
            "responseStatus": {"code": code},
            "stageTimestamp": f"2036-03-01T12:00:{second:02}.000000Z",
        }
        return json.dumps(event, separators=(",", ":")).encode() + b"\n"

    log = tmp_path / "audit.log"
    log.write_bytes(line("bench", 201, 1) * 3)
    seen = CreatesSeen(log, "bench")
    assert seen.look() == 0
    last = line("bench", 201, 9)
    others = line("bench-raw", 201, 5), line("bench", 409, 5), line("bench", 201, 5, subresource="binding")
    with log.open("ab") as file:
        file.write(b"".join([line("bench", 201, 2), *others, last[:40]]))
    assert seen.look() == 1
    with log.open("ab") as file:
        file.write(last[40:])
    assert (seen.look(), seen.last) == (2, datetime(2036, 3, 1, 12, 0, 9, tzinfo=UTC))
    assert seen.look() == 2


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child of its own, both alive once the first line is there."""
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        yield process
        os.killpg(process.pid, 9)


def test_memory_and_cpu_are_those_of_the_whole_tree(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    pids = processes.tree(child.pid)
    assert set(pids) == {child.pid, grandchild}
    assert processes.pss_bytes(pids) > processes.pss_bytes([grandchild]) > 0
    assert processes.cpu_seconds(pids) >= processes.cpu_seconds([grandchild])
    assert {"sleep"} < processes.cpu_seconds_by_program(pids).keys()
