"""Log lines in files: each is kept once, comes back in order, and what is missing is counted."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.errors import Unavailable
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.logs import LogGap, LogPage, LogRecord
from execplane.logs import files
from execplane.logs.chain import LogChain, LogStore
from execplane.logs.files import FileLogStore
from execplane.logs.index import STRIDE_LINES
from execplane.logs.options import FileLogOptions
from execplane.logs.pages import Filter, Produced, missing_lines
from execplane.logs.paths import log_path

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = AttemptKey(task=TaskKey(dag_id="d", run_id="manual__2026-03-01T00:00:00+00:00", task_id="t"), attempt_no=1)


def record(offset: int, message: str = "", level: str = "INFO") -> LogRecord:
    return LogRecord(offset=offset, at=AT, message=message or f"line {offset}", level=level)


def records(offsets: Iterable[int]) -> list[LogRecord]:
    return [record(offset) for offset in offsets]


def offsets(page: LogPage) -> list[int]:
    return [line.offset for line in page.records]


def make(folder: Path, **options: int) -> FileLogStore:
    return FileLogStore(FileLogOptions(folder=folder, **options))


@pytest.fixture
def store(tmp_path: Path) -> FileLogStore:
    return make(tmp_path)


def read_all(store: FileLogStore, limit: int, produced: Produced) -> tuple[list[LogRecord], list[LogGap], int]:
    """Page by page, as a reader would."""
    lines: list[LogRecord] = []
    gaps: list[LogGap] = []
    offset = 0
    while True:
        page = store.read(KEY, offset=offset, limit=limit, produced=produced)
        lines += page.records
        gaps += page.gaps
        if page.complete:
            return lines, gaps, page.next_offset
        assert page.next_offset > offset
        offset = page.next_offset


@given(
    batches=st.lists(st.lists(st.integers(0, 40), max_size=8), max_size=12),
    lost_at_the_end=st.integers(0, 5),
    limit=st.integers(1, 9),
    fresh_reader=st.booleans(),
)
def test_whatever_the_order_and_repetition_each_line_is_kept_once_and_each_gap_counted_once(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[int]],
    lost_at_the_end: int,
    limit: int,
    fresh_reader: bool,
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    store = make(folder)
    sent = {offset for batch in batches for offset in batch}
    for batch in batches:
        store.append(KEY, records(batch))
    produced = max(sent, default=-1) + 1 + lost_at_the_end
    reader = make(folder) if fresh_reader else store
    lines, gaps, end = read_all(reader, limit, Produced(lines=produced, ended=True, reported=True))
    assert lines == records(sorted(sent))
    assert missing_lines(gaps) == produced - len(sent)
    assert end == produced
    missing = [
        offset for gap in gaps for offset in range(gap.after_offset + 1, gap.after_offset + 1 + (gap.count or 0))
    ]
    assert missing == [offset for offset in range(produced) if offset not in sent]


@given(text=st.text())
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("logs")
    line = record(0, text or "x")
    make(folder).append(KEY, [line])
    assert make(folder).read(KEY).records == (line,)


def test_a_batch_sent_again_adds_nothing(store: FileLogStore) -> None:
    assert store.append(KEY, records(range(5))) == 5
    assert store.append(KEY, records(range(5))) == 0
    assert store.append(KEY, records(range(3, 8))) == 3
    assert offsets(store.read(KEY)) == list(range(8))


def test_a_restarted_store_knows_what_is_there(tmp_path: Path) -> None:
    make(tmp_path).append(KEY, records(range(600)))
    again = make(tmp_path)
    assert again.append(KEY, records(range(590, 605))) == 5
    assert offsets(again.read(KEY, offset=598)) == list(range(598, 605))


def test_two_stores_on_one_folder_do_not_double_lines(tmp_path: Path) -> None:
    one, two = make(tmp_path), make(tmp_path)
    one.append(KEY, records(range(3)))
    assert two.append(KEY, records(range(5))) == 2
    assert one.append(KEY, records(range(5))) == 0
    assert offsets(one.read(KEY)) == list(range(5))


def test_writers_at_once_keep_each_line_once(tmp_path: Path) -> None:
    stores = [make(tmp_path) for _ in range(4)]
    threads = [
        threading.Thread(
            target=lambda store=store: [store.append(KEY, records(range(n, n + 20))) for n in range(0, 400, 10)]
        )
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = tmp_path / log_path(KEY)
    assert len(path.read_bytes().splitlines()) == 410
    assert offsets(stores[0].read(KEY)) == list(range(410))


def test_a_gap_in_the_middle_is_counted_and_a_late_batch_fills_it(store: FileLogStore) -> None:
    store.append(KEY, records(range(812)))
    store.append(KEY, records(range(841, 850)))
    assert store.read(KEY, offset=800).gaps == (LogGap(after_offset=811, count=29),)
    store.append(KEY, records(range(812, 841)))
    page = store.read(KEY, offset=800)
    assert page.gaps == ()
    assert offsets(page) == list(range(800, 850))


def test_after_a_kill_the_heartbeat_says_what_is_missing_and_the_rest_is_unknown(store: FileLogStore) -> None:
    store.append(KEY, records(range(813)))
    page = store.read(KEY, offset=810, produced=Produced(lines=841, ended=True))
    assert page.gaps == (LogGap(after_offset=812, count=28), LogGap(after_offset=840, count=None))
    assert page.complete


def test_after_a_report_nothing_is_unknown(store: FileLogStore) -> None:
    store.append(KEY, records(range(5)))
    page = store.read(KEY, produced=Produced(lines=5, ended=True, reported=True))
    assert (page.gaps, page.complete, page.next_offset) == ((), True, 5)


def test_while_it_runs_lines_under_way_are_no_gap(store: FileLogStore) -> None:
    store.append(KEY, records(range(5)))
    page = store.read(KEY, produced=Produced(lines=9))
    assert (page.gaps, page.complete, page.next_offset) == ((), False, 5)
    assert store.read(KEY, offset=5, produced=Produced(lines=9)).records == ()


def test_an_absent_log_is_an_empty_page(store: FileLogStore) -> None:
    assert not store.has(KEY)
    assert store.read(KEY) == LogPage(source="file")
    page = store.read(KEY, produced=Produced(lines=3, ended=True))
    assert page.gaps == (LogGap(after_offset=-1, count=3), LogGap(after_offset=2, count=None))


def test_the_last_lines_can_be_asked_for(store: FileLogStore) -> None:
    store.append(KEY, records(range(1000)))
    assert offsets(store.read(KEY, offset=-3)) == [997, 998, 999]
    assert len(store.read(KEY, offset=-5000, limit=5000).records) == 1000


def test_a_page_deep_in_a_log_reads_only_its_surroundings(
    store: FileLogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(KEY, records(range(20_000)))
    decoded: list[bytes] = []
    decode = files._decode

    def counted(line: bytes) -> LogRecord | None:
        decoded.append(line)
        return decode(line)

    monkeypatch.setattr(files, "_decode", counted)
    assert offsets(store.read(KEY, offset=15_000, limit=10)) == list(range(15_000, 15_010))
    assert len(decoded) <= STRIDE_LINES + 10


def test_a_line_torn_by_a_crash_is_missing_until_it_is_sent_again(tmp_path: Path) -> None:
    make(tmp_path).append(KEY, records(range(3)))
    with open(tmp_path / log_path(KEY), "ab") as file:
        file.write(b'{"offset":3,"at":"2026-03-01T12:00:00Z","message":"li')
    store = make(tmp_path)
    assert offsets(store.read(KEY)) == [0, 1, 2]
    assert store.append(KEY, [record(4)]) == 1
    assert store.read(KEY).gaps == (LogGap(after_offset=2, count=1),)
    assert store.append(KEY, [record(3)]) == 1
    assert make(tmp_path).read(KEY).records == tuple(records(range(5)))


@pytest.mark.parametrize("cut", range(1, 60))
def test_wherever_a_line_is_torn_its_offset_can_be_sent_again(tmp_path: Path, cut: int) -> None:
    tricky = record(1, 'a "quoted"} text with \\ and "} in it\\')
    make(tmp_path).append(KEY, [record(0), tricky])
    path = tmp_path / log_path(KEY)
    os.truncate(path, path.stat().st_size - cut)
    store = make(tmp_path)
    store.append(KEY, [record(2)])
    store.append(KEY, [tricky])
    assert store.read(KEY).records == (record(0), tricky, record(2))


def test_a_log_cut_or_replaced_behind_our_back_is_read_anew(store: FileLogStore, tmp_path: Path) -> None:
    store.append(KEY, records(range(500)))
    path = tmp_path / log_path(KEY)
    os.truncate(path, 0)
    assert store.read(KEY).records == ()
    assert store.append(KEY, records(range(2))) == 2
    path.unlink()
    assert store.append(KEY, records(range(3))) == 3
    assert offsets(store.read(KEY)) == [0, 1, 2]


def test_a_damaged_line_is_a_gap_and_hides_no_other(store: FileLogStore, tmp_path: Path) -> None:
    store.append(KEY, records(range(10)))
    path = tmp_path / log_path(KEY)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"message":"line 4"', b'"massage":"line 4"'))
    page = make(tmp_path).read(KEY)
    assert offsets(page) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert page.gaps == (LogGap(after_offset=3, count=1),)
    assert page.next_offset == 10


def test_only_matching_lines_are_shown_and_every_page_goes_on(tmp_path: Path) -> None:
    store = make(tmp_path, scan_lines=50)
    store.append(KEY, [record(n, "Needle" if n % 60 == 0 else "hay") for n in range(200)])
    found, offset, pages = [], 0, 0
    while offset < 200:
        page = store.read(KEY, offset=offset, show=Filter(search="nEEdle"))
        found += offsets(page)
        assert page.next_offset > offset
        offset, pages = page.next_offset, pages + 1
    assert found == [0, 60, 120, 180]
    assert pages == 4


def test_lines_below_a_level_can_be_left_out(store: FileLogStore) -> None:
    levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "notice"]
    store.append(KEY, [record(n, level=level) for n, level in enumerate(levels)])
    assert offsets(store.read(KEY, show=Filter(level="warning"))) == [2, 3, 4]
    assert offsets(store.read(KEY, show=Filter(level="INFO"))) == [1, 2, 3, 4, 5]


def test_a_full_disk_is_named_and_leaves_no_half_line(
    store: FileLogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(KEY, records(range(2)))
    before = (tmp_path / log_path(KEY)).read_bytes()

    def half_then_full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, bytes(data)[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_write_all", half_then_full)
    with pytest.raises(Unavailable, match="disk is full"):
        store.append(KEY, records(range(2, 4)))
    assert (tmp_path / log_path(KEY)).read_bytes() == before
    monkeypatch.undo()
    assert store.append(KEY, records(range(2, 4))) == 2


def test_memory_is_bounded_over_many_attempts(tmp_path: Path) -> None:
    store = make(tmp_path, kept_indexes=3)
    keys = [AttemptKey(task=KEY.task, attempt_no=n) for n in range(1, 8)]
    for key in keys:
        store.append(key, records(range(3)))
    assert len(store._known) == 3
    for key in keys:
        assert store.append(key, records(range(4))) == 1


def test_memory_is_bounded_in_a_log_that_is_all_gaps(store: FileLogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execplane.logs.index.MAX_RUNS", 10)
    for n in range(0, 40, 2):
        store.append(KEY, [record(n)])
    assert len(offsets(store.read(KEY))) == 10
    assert store.append(KEY, records([19, 20, 21])) == 3


def test_a_runs_logs_can_be_forgotten(store: FileLogStore) -> None:
    other = AttemptKey(task=TaskKey(dag_id="d", run_id="other", task_id="t"), attempt_no=1)
    store.append(KEY, records(range(2)))
    store.append(other, records(range(2)))
    store.delete_run("d", KEY.task.run_id)
    store.delete_run("d", KEY.task.run_id)
    assert (store.has(KEY), store.has(other)) == (False, True)
    assert store.append(KEY, records(range(2))) == 2


class Dead:
    name = "dead"

    def has(self, key: AttemptKey) -> bool:
        raise Unavailable("The bucket does not answer.")

    def read(self, key: AttemptKey, **_: object) -> LogPage:
        raise AssertionError("never reached")


def test_a_chain_shows_the_first_reader_that_has_the_log(tmp_path: Path) -> None:
    first: LogStore = make(tmp_path / "first")
    second = make(tmp_path / "second")
    second.append(KEY, records(range(2)))
    chain = LogChain([Dead(), first, second])
    assert offsets(chain.read(KEY)) == [0, 1]
    first.append(KEY, records(range(1)))
    assert offsets(chain.read(KEY)) == [0]


def test_a_chain_says_that_a_reader_is_down_only_if_no_other_has_the_log(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="bucket does not answer"):
        LogChain([Dead(), make(tmp_path)]).read(KEY)
    assert LogChain([make(tmp_path)]).read(KEY) == LogPage()
