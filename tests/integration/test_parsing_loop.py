"""The parse loop, with real folders, real imports by the sdk, and the ledger: what a DAG author and an operator see."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.options import BundleOptions
from execplane.bundles.places import BundlePlaces
from execplane.contract.clock import SystemClock
from execplane.contract.errors import Unavailable
from execplane.contract.loops import NOW, Loop
from execplane.parsing.loop import ParseLoop
from execplane.parsing.options import Limits, ParsingOptions
from execplane.parsing.passes import name_folders
from execplane.store import dag_versions, secrets
from execplane.store.models import Audit, Dag, DagVersion, ImportErrorRow
from execplane.store.secrets import SecretBox

pytestmark = pytest.mark.django_db

DAG = """
from execplane import DAG
from execplane.sdk.operators.bash import BashOperator

with DAG("{dag_id}", schedule=None):
    BashOperator(task_id="t", bash_command="echo", retries={retries})
"""


def dag(dag_id: str, retries: int = 0) -> str:
    return DAG.format(dag_id=dag_id, retries=retries)


@dataclass
class Running:
    """A loop over one folder, ticked by hand."""

    folder: Path
    home: Path
    now: datetime = field(default_factory=lambda: SystemClock().now())
    box: SecretBox = field(default_factory=lambda: SecretBox([Fernet.generate_key().decode()]))
    loop: ParseLoop = field(init=False)

    def __post_init__(self) -> None:
        self.loop = self.make()

    def make(self) -> ParseLoop:
        blobs = FileBlobStore(FileBlobOptions(folder=self.home / "blobs"))
        return ParseLoop(
            name_folders([self.folder]),
            options=ParsingOptions(limits=Limits(timeout_seconds=3.0, memory_bytes=512 << 20)),
            bundle_options=BundleOptions(),
            blobs=blobs,
            places=BundlePlaces(self.home / "bundles", blobs),
            clock=SystemClock(),
            environ=os.environ,
            secrets=self.box,
        )

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(text)

    def settle(self, seconds: float = 0.01) -> int:
        """Tick as the supervisor would until nothing is left to do; `seconds` is when the first tick comes."""
        self.now += timedelta(seconds=seconds)
        ticks = 0
        while True:
            ticks += 1
            if self.loop.tick(self.now) != NOW:
                return ticks
            self.now += timedelta(seconds=0.01)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    folder = tmp_path / "dags"
    folder.mkdir()
    running = Running(folder=folder, home=tmp_path / "home")
    yield running
    running.loop.close()


def active() -> set[str]:
    return set(Dag.objects.filter(active=True).values_list("dag_id", flat=True))


def errors() -> dict[str, str]:
    return dict(ImportErrorRow.objects.values_list("file", "message"))


def test_it_is_a_leased_loop_that_is_woken_by_refresh(running: Running) -> None:
    loop: Loop = running.loop
    assert (loop.name, loop.leased, loop.topics) == ("parsing", True, frozenset({"refresh"}))


def test_files_become_dags_with_versions_and_a_bundle(running: Running) -> None:
    running.write(a=dag("a"), b=dag("b"))
    assert running.loop.busy
    running.settle()
    assert not running.loop.busy
    assert active() == {"a", "b"}
    row = Dag.objects.select_related("latest_version", "latest_bundle").get(pk="a")
    assert row.latest_version is not None
    assert row.latest_version.number == 1
    assert row.latest_bundle is not None
    assert (running.home / "bundles" / row.latest_bundle.digest / "a.py").read_text() == dag("a")


def test_a_variable_read_at_the_top_level_is_the_stored_one_recorded_and_followed(running: Running) -> None:
    running.write(
        a="from execplane.sdk.variables import Variable\nNAME = Variable.get('name', 'unset')\n" + dag("{NAME}")
    )
    (running.folder / "a.py").write_text((running.folder / "a.py").read_text().replace('DAG("{', 'DAG(f"{'))
    running.settle()
    assert active() == {"unset"}
    secrets.set_variable(running.box, "name", "stored")
    running.settle(seconds=2)
    assert active() == {"stored"}
    assert [(row.actor, row.action, row.object, row.after) for row in Audit.objects.all()] == [
        ("parsing", "read", "variable:name", {"file": "dags/a.py"})
    ]
    secrets.delete_variable("name")
    running.settle(seconds=2)
    assert active() == {"unset"}


def test_variables_without_defaults_are_found_by_their_names_and_read_once_each(running: Running) -> None:
    names = [f"v{number}" for number in range(8)]
    for name in names:
        secrets.set_variable(running.box, name, f"value-of-{name}")
    head = "from execplane.sdk.variables import Variable\n"
    reads = "".join(f"{name} = Variable.get('{name}')\n" for name in names)
    running.write(a=head + reads + dag("{v7}").replace('DAG("', 'DAG(f"'))
    running.settle()
    assert (active(), errors()) == ({"value-of-v7"}, {})
    assert sorted(Audit.objects.values_list("object", flat=True)) == [f"variable:{name}" for name in names]


def test_more_variables_than_one_statement_takes_and_odd_names_are_looked_up(running: Running) -> None:
    for number in (0, 950):
        secrets.set_variable(running.box, f"v{number:03}", str(number))
    keys = [f"v{number:03}" for number in range(1000)] + ["", "with\0nul", "long" * 100]
    assert set(secrets.variable_stamps(keys)) == {"v000", "v950"}
    found = secrets.variables_for_file(running.box, keys, "dags/a.py", now=running.now)
    assert found == {"v000": "0", "v950": "950"}


def test_a_change_is_seen_at_the_next_look_and_makes_one_new_version(running: Running) -> None:
    running.write(a=dag("a"), b=dag("b"))
    running.settle()
    running.write(a=dag("a", retries=1))
    running.settle(2)
    running.settle(0.5)
    assert dict(DagVersion.objects.order_by("number").values_list("dag_id", "number")) == {
        "a": 2,
        "b": 1,
    }
    assert len(set(Dag.objects.values_list("latest_bundle", flat=True))) == 1


def test_a_wake_looks_at_once(running: Running) -> None:
    running.write(a=dag("a"))
    running.settle()
    running.settle(1.5)
    running.write(a=dag("a", retries=1))
    running.settle(0.01)
    assert DagVersion.objects.filter(dag="a").count() == 2


def test_an_unchanged_pass_writes_nothing_and_soon_needs_no_process(running: Running) -> None:
    running.write(a=dag("a"))
    running.settle()
    before = Dag.objects.get(pk="a").parsed_at
    for _ in range(3):
        assert running.settle(1) == 1
    assert Dag.objects.get(pk="a").parsed_at == before


def test_what_is_asked_for_again_is_imported_though_nothing_changed(running: Running) -> None:
    running.write(a=dag("a"), b=dag("b"))
    running.settle()
    running.settle(1.5)
    dag_versions.ask_again(["a"])
    running.settle(0.01)
    assert dag_versions.asked_again() == frozenset()
    parsed = dict(Dag.objects.values_list("dag_id", "parsed_at"))
    assert parsed["a"] > parsed["b"]  # type: ignore[operator]


BAD = {
    "syntax": ("from execplane import DAG\nDAG(", "syntax error"),
    "loop": ("from execplane import DAG\nwhile True: pass", "still being imported after 3 s"),
    "memory": ("from execplane import DAG\nx = bytearray(2 << 30)", "more memory than the 512 MiB"),
    "leave": ("from execplane import DAG\nimport sys\nsys.exit(1)", "sys.exit(1)"),
    "vanish": ("from execplane import DAG\nimport os\nos._exit(0)", "os._exit, exit status 0"),
    "crash": ("from execplane import DAG\nimport ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "cycle": (
        dag("cyclic").replace(
            "BashOperator(task_id", "a = BashOperator(task_id='a', bash_command='x')\n    b = BashOperator(task_id"
        )
        + "\n    a >> b >> a",
        "ycl",
    ),
    "cron": (dag("croned").replace("schedule=None", "schedule='99 * * * *'"), "99 * * * *"),
    "params": (dag("odd").replace("schedule=None", "schedule=None, params={'p': object()}"), "params"),
    "twice": (dag("good_dag"), "already defined in good.py (dags)"),
}


def test_every_kind_of_bad_file_is_one_import_error_and_no_other_file_suffers(running: Running) -> None:
    running.write(good=dag("good_dag"), **{name: text for name, (text, _) in BAD.items()})
    running.settle()
    assert active() == {"good_dag"}
    found = errors()
    assert set(found) == {f"{name}.py" for name in BAD}
    for name, (_, words) in BAD.items():
        assert words in found[f"{name}.py"], found[f"{name}.py"]
        assert "\n" not in found[f"{name}.py"]
    for name in BAD:
        (running.folder / f"{name}.py").unlink()
    running.settle(2)
    running.settle(0.5)
    assert errors() == {}


def test_code_that_changes_nothing_of_the_dag_makes_no_version_but_reaches_the_next_run(running: Running) -> None:
    running.write(a=dag("a"))
    running.settle()
    before = Dag.objects.get(pk="a").latest_bundle_id
    running.write(a=dag("a").replace("echo", "ls"))
    running.settle(2)
    running.settle(0.5)
    assert DagVersion.objects.count() == 1
    after = Dag.objects.get(pk="a").latest_bundle_id
    assert after != before
    assert 'bash_command="ls"' in (running.home / "bundles" / str(after) / "a.py").read_text()


def test_a_broken_deploy_leaves_the_dag_at_its_last_good_bundle(running: Running) -> None:
    running.write(a=dag("a"))
    running.settle()
    good = Dag.objects.get(pk="a").latest_bundle_id
    running.write(a="from execplane import DAG\nbroken(")
    running.settle(2)
    running.settle(0.5)
    assert Dag.objects.get(pk="a").latest_bundle_id == good
    assert list(errors()) == ["a.py"]


def test_a_removed_folder_is_an_error_and_its_dags_stay(running: Running) -> None:
    running.write(a=dag("a"))
    running.settle()
    running.folder.rename(running.folder.with_name("away"))
    running.settle(2)
    assert "does not exist" in errors()["."]
    assert active() == {"a"}
    running.folder.with_name("away").rename(running.folder)
    running.settle(2)
    assert (errors(), active()) == ({}, {"a"})


def test_a_database_that_is_away_loses_nothing_and_imports_nothing_twice(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.write(a=dag("a"))
    running.settle()
    running.write(a=dag("a", retries=1), b=dag("b"))

    def refuse(*_: object, **__: object) -> None:
        raise Unavailable("The database did not take the change.")

    with monkeypatch.context() as away:
        away.setattr(dag_versions, "save_files", refuse)
        running.settle(2)
        for _ in range(3):
            with pytest.raises(Unavailable):
                running.settle(1)
    running.settle(1)
    assert active() == {"a", "b"}
    assert DagVersion.objects.filter(dag="a").count() == 2


def test_a_file_whose_dag_cannot_be_stored_is_an_import_error_and_others_are_kept(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = dag_versions.save_files

    def picky(*args: object, **named: object) -> object:
        results: list[dag_versions.FileResult] = args[2]  # type: ignore[assignment]
        if any(made.dag_id == "odd" for result in results for made in result.dags):
            raise ValueError("value out of range")
        return save(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(dag_versions, "save_files", picky)
    running.write(a=dag("a"), b=dag("odd"))
    running.settle()
    assert active() == {"a"}
    assert errors() == {"b.py": "b.py was imported, and what it defines cannot be stored: value out of range."}


def test_another_process_goes_on_where_this_one_stopped(running: Running) -> None:
    running.write(b=dag("x"))
    running.settle()
    running.loop.close()
    running.write(a=dag("x"))
    running.loop = running.make()
    running.settle()
    assert Dag.objects.get(pk="x").file == "b.py"
    assert list(errors()) == ["a.py"]
    assert DagVersion.objects.filter(dag="x").count() == 1


def test_a_home_whose_bundles_were_deleted_makes_them_again(running: Running) -> None:
    running.write(a=dag("a"))
    running.settle()
    shutil.rmtree(running.home / "bundles", onerror=_force)
    dag_versions.ask_again()
    running.settle(0.01)
    assert active() == {"a"}
    assert dag_versions.asked_again() == frozenset()


def _force(function: Callable[[str], object], path: str, _: object) -> None:
    os.chmod(os.path.dirname(path), 0o700)
    function(path)
