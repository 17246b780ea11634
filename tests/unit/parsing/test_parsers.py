"""Whatever a DAG file does while it is imported, it costs one import error and no other file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.dag import ParsedFile
from execplane.contract.errors import Unavailable
from execplane.contract.process import process_info
from execplane.parsing.options import Limits
from execplane.parsing.parsers import Finished, Parsers, parser_environment, rewrite_paths
from tests.parts.eventually import eventually

STAND_IN = "tests.unit.parsing.stand_in:load"
MIB = 1 << 20


def is_dead(pid: int) -> bool:
    info = process_info(pid)
    return info is None or info.state in "ZX"


class Bench:
    """A folder, its parsers, and the results by file."""

    def __init__(self, folder: Path, **limits: object) -> None:
        self.folder = folder
        values = {"loader": STAND_IN, "preload": (), "timeout_seconds": 20.0, "memory_bytes": 300 * MIB} | limits
        environment = parser_environment(os.environ, {})
        self.parsers = Parsers(Limits(**values), clock=SystemClock(), environment=environment)  # type: ignore[arg-type]

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(text)

    def run(self, *names: str) -> dict[str, Finished]:
        self.parsers.submit(str(self.folder), [f"{name}.py" for name in names])
        return self.collect()

    def collect(self) -> dict[str, Finished]:
        found = {}
        while self.parsers.pending:
            for finished in self.parsers.results(30):
                found[finished.file.removesuffix(".py")] = finished
        return found

    def error(self, text: str, **more: str) -> ParsedFile:
        """The outcome of one bad file; a good one beside it must come through."""
        self.write(bad=text, good="DAGS = ['good']", **more)
        found = self.run("bad", "good")
        assert [dag.dag_id for dag in found["good"].parsed.dags] == ["good"]
        parsed = found["bad"].parsed
        assert parsed.dags == ()
        assert parsed.file == "bad.py"
        assert "\n" not in parsed.error
        return parsed


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made = []

    def build(**limits: object) -> Bench:
        made.append(Bench(tmp_path, **limits))
        return made[-1]

    yield build
    for bench in made:
        bench.parsers.stop()


def test_files_come_back_with_their_dags(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.write(a="DAGS = ['one', 'two']", b="DAGS = []")
    found = bench.run("a", "b")
    assert [dag.dag_id for dag in found["a"].parsed.dags] == ["one", "two"]
    assert not found["b"].parsed.is_dag_file
    assert found["a"].parsed.duration_seconds > 0


def test_nothing_of_one_file_is_left_for_the_next(make: Callable[..., Bench]) -> None:
    bench = make(processes=1)
    bench.write(
        a="import sys, os; sys.marked = 1; os.environ['MARK'] = '1'; DAGS = ['a']",
        b="import sys, os; DAGS = [f\"{hasattr(sys, 'marked')}-{os.environ.get('MARK')}\"]",
    )
    assert bench.run("a", "b")["b"].parsed.dags[0].dag_id == "False-None"


def test_an_exception_is_an_import_error_with_its_traceback(make: Callable[..., Bench]) -> None:
    parsed = make().error("def f():\n    raise KeyError('oops')\nf()")
    assert parsed.error == "KeyError: 'oops'"
    assert "line 2, in f" in parsed.traceback


def test_a_syntax_error_is_an_import_error(make: Callable[..., Bench]) -> None:
    parsed = make().error("DAGS = [")
    assert parsed.error.startswith("SyntaxError: '[' was never closed")


@pytest.mark.parametrize("code", ["", "0", "3", "'bye'"])
def test_sys_exit_is_an_import_error(make: Callable[..., Bench], code: str) -> None:
    parsed = make().error(f"import sys\nsys.exit({code})")
    assert parsed.error.startswith(f"bad.py called sys.exit({code}) while it was imported.")
    assert "line 2" in parsed.traceback


def test_os_exit_is_an_import_error(make: Callable[..., Bench]) -> None:
    parsed = make().error("import os\nos._exit(0)")
    assert parsed.error.startswith("bad.py ended the process that imported it (os._exit, exit status 0).")


def test_an_endless_loop_is_an_import_error_that_names_the_limit_and_the_line(make: Callable[..., Bench]) -> None:
    parsed = make(timeout_seconds=0.5).error("x = 1\nwhile True:\n    x += 1\n")
    assert parsed.error.startswith("bad.py, line 2, was still being imported after 0.5 s, the limit")
    assert "EXECPLANE_PARSING__TIMEOUT_SECONDS" in parsed.error
    assert 'bad.py", line' in parsed.traceback


def test_a_file_that_cannot_be_interrupted_is_killed(make: Callable[..., Bench]) -> None:
    bench = make(timeout_seconds=0.3, kill_after_seconds=0.3)
    parsed = bench.error("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})\nwhile True: pass")
    assert "still being imported after 0.3 s" in parsed.error


def test_a_file_that_swallows_every_exception_still_times_out(make: Callable[..., Bench]) -> None:
    text = "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except BaseException:\n        pass"
    assert "still being imported" in make(timeout_seconds=0.3).error(text).error


@pytest.mark.parametrize("loader", [STAND_IN, "tests.unit.parsing.stand_in:swallow"])
@pytest.mark.parametrize(
    "text", ["x = bytearray(2 << 30)", "x = []\nwhile True: x.append('x' * 100_000)", "x = [0] * (1 << 28)"]
)
def test_too_much_memory_is_an_import_error_that_names_the_limit(
    make: Callable[..., Bench], text: str, loader: str
) -> None:
    parsed = make(memory_bytes=256 * MIB, loader=loader).error(text)
    assert parsed.error.startswith("bad.py asked for more memory than the 256 MiB that an import may take")
    assert "EXECPLANE_PARSING__MEMORY_BYTES" in parsed.error


def test_a_segfault_is_an_import_error_that_shows_where(make: Callable[..., Bench]) -> None:
    parsed = make().error("import ctypes\n\nctypes.string_at(0)")
    assert parsed.error.startswith("bad.py crashed the Python that imported it (SIGSEGV).")
    assert "line 3" in parsed.traceback


def test_a_kill_from_outside_is_an_import_error(make: Callable[..., Bench]) -> None:
    parsed = make().error("import os\nos.kill(os.getpid(), 9)")
    assert "was killed (SIGKILL)" in parsed.error


def test_flooding_the_output_is_an_import_error(make: Callable[..., Bench]) -> None:
    parsed = make(output_bytes=MIB).error("while True: print('y' * 1000)")
    assert parsed.error.startswith("bad.py printed more than 1 MiB while it was imported.")
    assert len(parsed.traceback) < 10_000


def test_what_a_bad_file_printed_is_shown_with_its_error(make: Callable[..., Bench]) -> None:
    parsed = make().error("import os\nprint('before the end')\nos.write(2, b'raw')\nraise ValueError")
    assert "The file printed:\nbefore the end\nraw" in parsed.traceback


def test_a_good_file_may_print_and_leave_a_child_behind(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.write(a="import subprocess\nprint('hello')\np = subprocess.Popen(['sleep', '600'])\nDAGS = [str(p.pid)]")
    pid = int(bench.run("a")["a"].parsed.dags[0].dag_id)
    eventually(lambda: is_dead(pid))


def test_a_dag_that_is_no_json_is_an_import_error(make: Callable[..., Bench]) -> None:
    parsed = make().error("DAGS = ['a']\nPARAM = object()")
    assert parsed.error.startswith("bad.py defines a DAG that cannot be written as JSON: ")


def test_a_large_answer_comes_through_whole(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.write(a="DAGS = ['a']\nPARAM = 'x' * 5_000_000")
    assert len(bench.run("a")["a"].parsed.dags[0].params["p"].default) == 5_000_000


def test_what_a_file_reads_is_known(make: Callable[..., Bench]) -> None:
    bench = make()
    (bench.folder / "lib").mkdir()
    (bench.folder / "lib/__init__.py").write_text("")
    (bench.folder / "lib/part.py").write_text("X = 1")
    (bench.folder / "data").mkdir()
    (bench.folder / "data/a.yaml").write_text("a")
    bench.write(
        a="""
import os, pathlib
from lib import part
here = pathlib.Path(__file__).parent
(here / 'data/a.yaml').read_text()
(here / 'absent.json').exists()
try: open(here / 'missing.yaml')
except FileNotFoundError: pass
os.listdir(here / 'data')
DAGS = ['a']
""",
        b="DAGS = ['b']",
    )
    found = bench.run("a", "b")
    assert set(found["a"].inputs) == {
        "a.py",
        "lib/__init__.py",
        "lib/part.py",
        "data/a.yaml",
        "missing.yaml",
    }
    assert found["a"].listed == ("data",)
    assert (set(found["b"].inputs), found["b"].listed) == ({"b.py"}, ())


def test_files_see_neither_our_secrets_nor_our_folder(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECPLANE_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("AIRFLOW_VAR_X", "1")
    bench = make()
    bench.write(
        a="import os, sys\nDAGS = [k for k in os.environ if 'EXECPLANE' in k or 'AIRFLOW' in k]",
        b=f"import sys\nDAGS = [{os.getcwd()!r} if {os.getcwd()!r} in sys.path else 'clean']",
    )
    found = bench.run("a", "b")
    assert [dag.dag_id for dag in found["a"].parsed.dags] == ["AIRFLOW_VAR_X"]
    assert found["b"].parsed.dags[0].dag_id == "clean"


def test_files_are_imported_beside_the_sdk_and_nothing_heavy(make: Callable[..., Bench]) -> None:
    bench = make(preload=Limits().preload)
    heavy = ["django", "kubernetes", "pydantic", "execplane.sdk.loader"]
    bench.write(a=f"import sys\nDAGS = [name for name in {heavy} if name in sys.modules]")
    assert [dag.dag_id for dag in bench.run("a")["a"].parsed.dags] == ["execplane.sdk.loader"]


def test_the_process_starts_with_work_and_ends_without(make: Callable[..., Bench]) -> None:
    bench = make()
    assert bench.parsers.pid is None
    bench.write(a="DAGS = ['a']")
    bench.run("a")
    pid = bench.parsers.pid
    assert pid is not None
    rest = bench.parsers.stop_when_idle(60)
    assert rest is not None
    assert 0 < rest <= 60
    assert bench.parsers.stop_when_idle(0) is None
    assert process_info(pid) is None
    assert bench.run("a")["a"].parsed.dags


def test_the_parser_killed_from_outside_starts_again_and_loses_nothing(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.write(a="DAGS = ['a']")
    bench.run("a")
    assert bench.parsers.pid is not None
    os.kill(bench.parsers.pid, signal.SIGKILL)
    assert bench.run("a")["a"].parsed.dags[0].dag_id == "a"


def test_a_file_that_kills_the_parser_twice_is_to_blame(make: Callable[..., Bench]) -> None:
    bench = make(processes=1)
    bench.write(bad="import os\nos.kill(os.getppid(), 9)")
    assert bench.run("bad")["bad"].parsed.error.startswith("The parser died while it imported bad.py.")


def test_a_stopped_parser_ends_the_files_that_are_being_imported(make: Callable[..., Bench]) -> None:
    bench = make()
    marker = bench.folder / "pid"
    bench.write(a=f"import os, time\nopen({str(marker)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    bench.parsers.submit(str(bench.folder), ["a.py"])
    while not marker.exists() or not marker.read_text():
        bench.parsers.results(0.05)
    bench.parsers.stop()
    eventually(lambda: is_dead(int(marker.read_text())))
    assert bench.parsers.pending == 1


def test_jobs_that_were_not_sent_can_be_taken_back(make: Callable[..., Bench]) -> None:
    bench = make(processes=1)
    bench.write(a="DAGS = ['a']")
    numbers = bench.parsers.submit(str(bench.folder), ["a.py"] * 10)
    bench.parsers.cancel(numbers[2:])
    assert bench.parsers.pending == 2


def test_a_parser_that_does_not_start_says_why_and_keeps_the_jobs(make: Callable[..., Bench]) -> None:
    bench = make(loader="no.such.module:load")
    bench.parsers.submit(str(bench.folder), ["a.py"])
    with pytest.raises(Unavailable, match="did not start: ModuleNotFoundError: No module named 'no'"):
        bench.parsers.results(10)
    assert bench.parsers.pending == 1


def test_errors_name_the_folder_and_not_our_copy() -> None:
    parsed = ParsedFile(file="a.py", error="In /home/b/123/a.py", traceback='File "/home/b/123/a.py"')
    rewritten = rewrite_paths(parsed, "/home/b/123", "/dags")
    assert (rewritten.error, rewritten.traceback) == ("In /dags/a.py", 'File "/dags/a.py"')
