"""The book of unsent lines: nothing lost, nothing twice, always in order, whatever is taken and given back."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.clock import SystemClock
from execplane.contract.logs import LogRecord
from execplane.worker.logs import LineCutter, LogBook, record_bytes
from tests.unit.worker.stub_api import MOMENT

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.text(alphabet="ab\n\u00e9", max_size=30)),
        st.tuples(st.just("take"), st.integers(0, 1000)),
        st.tuples(st.just("return"), st.integers(0, 1000)),
    ),
    max_size=60,
)


def book(folder: Path, *, memory_bytes: int = 600, line_bytes: int = 10) -> LogBook:
    return LogBook(
        folder / "logs" / "spill.jsonl", clock=SystemClock(), memory_bytes=memory_bytes, line_bytes=line_bytes
    )


@given(STEPS)
def test_every_line_is_taken_once_and_in_order(steps: list[tuple[str, object]]) -> None:
    with TemporaryDirectory() as folder:
        lines = book(Path(folder))
        appended: list[str] = []
        taken: list[LogRecord] = []
        for kind, value in steps:
            if kind == "append":
                assert isinstance(value, str)
                for line in value.split("\n"):
                    appended += [line[at : at + 10] for at in range(0, max(len(line), 1), 10)]
                lines.append(value, at=MOMENT)
            else:
                assert isinstance(value, int)
                batch = lines.take(value)
                if kind == "return":
                    lines.untake(batch)
                else:
                    taken += batch
        while batch := lines.take(500):
            taken += batch
        assert [record.message for record in taken] == appended
        assert [record.offset for record in taken] == list(range(len(appended)))
        assert lines.produced == len(appended)
        assert lines.oldest_unsent_at is None
        assert not (Path(folder) / "logs" / "spill.jsonl").exists()
        lines.close()


def test_memory_stays_bounded_while_nothing_is_taken(tmp_path: Path) -> None:
    lines = book(tmp_path, memory_bytes=2000, line_bytes=100)
    for number in range(500):
        lines.append(f"line {number}", at=MOMENT)
    assert lines.waiting_bytes <= 2000
    assert (tmp_path / "logs" / "spill.jsonl").stat().st_size > 10_000
    lines.close()
    assert not (tmp_path / "logs" / "spill.jsonl").exists()


def test_a_full_disk_costs_lines_whose_gap_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    lines = book(tmp_path, memory_bytes=300, line_bytes=100)
    for number in range(5):
        lines.append(f"line {number}", at=MOMENT)
    offsets = [record.offset for record in lines.take(10_000)]
    assert offsets == [0, 1]
    lines.append("later", at=MOMENT)
    assert [record.offset for record in lines.take(10_000)] == [5]
    assert capsys.readouterr().err.count("log lines are lost") == 1
    lines.close()


def test_a_batch_is_about_as_large_as_asked(tmp_path: Path) -> None:
    lines = book(tmp_path, memory_bytes=100_000, line_bytes=1000)
    for _ in range(100):
        lines.append("x" * 100, at=MOMENT)
    batch = lines.take(1000)
    assert len(batch) >= 1
    assert sum(map(record_bytes, batch)) <= 1000
    lines.close()


def test_each_record_is_copied_as_one_json_line(tmp_path: Path) -> None:
    copied: list[bytes] = []
    lines = LogBook(tmp_path / "spill", clock=SystemClock(), memory_bytes=100, line_bytes=100, copy=copied.append)
    lines.append("one\ntwo", at=MOMENT, level="WARNING")
    records = [msgspec.json.decode(line, type=LogRecord) for line in copied]
    assert [(record.offset, record.message, record.level) for record in records] == [
        (0, "one", "WARNING"),
        (1, "two", "WARNING"),
    ]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in copied)
    lines.close()


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    def cut(parts: list[bytes]) -> list[str]:
        cutter = LineCutter(1000)
        return [line for part in parts for line in cutter.feed(part)] + list(cutter.finish())

    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    parts = [data[start:end] for start, end in itertools.pairwise(places)]
    assert cut(parts) == cut([data])
    assert len(cut([data])) == len(data.split(b"\n")) - (data.endswith(b"\n") or not data)


def test_a_line_without_end_is_handed_on_in_pieces() -> None:
    cutter = LineCutter(10)
    pieces = list(cutter.feed(b"x" * 35))
    assert pieces == ["x" * 10] * 3
    assert list(cutter.feed(b"\n")) == ["x" * 5]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    cutter = LineCutter(100)
    assert list(cutter.feed(b"a\xffb\x00c\r\n")) == ["a\ufffdb\ufffdc"]
