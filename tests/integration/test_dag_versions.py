"""What parsing found, kept in the ledger: versions appear when a DAG changes, and at no other time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.contract.dag import DagSpec, TaskSpec, TimetableSpec, dag_hash
from execplane.store import dag_versions
from execplane.store.dag_versions import BundleState, FileResult, Saved
from execplane.store.models import Bundle, Dag, DagTag, DagVersion, ImportErrorRow
from execplane.store.queries import versions
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db

ONE, TWO = "1" * 64, "2" * 64


def spec(dag_id: str, file: str = "a.py", **fields: object) -> DagSpec:
    tasks = (TaskSpec(task_id="t", operator="BashOperator", owner="ann"),)
    return DagSpec(dag_id=dag_id, file=file, tasks=tasks, **fields)  # type: ignore[arg-type]


def good(file: str, *dags: DagSpec, source: bytes = b"source") -> FileResult:
    return FileResult(file=file, dags=dags, source=source)


def broken(file: str, error: str = "SyntaxError: no", traceback: str = "Traceback") -> FileResult:
    return FileResult(file=file, error=error, traceback=traceback, defines=False)


class Store:
    """The two verbs, with what never changes in these tests."""

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock

    def bundle(
        self,
        digest: str,
        *,
        settled: tuple[str, ...] = (),
        present: tuple[str, ...] = ("a.py", "b.py"),
        problems: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        state = BundleState(
            name="dags",
            digest=digest,
            size_bytes=10,
            files=2,
            settled=settled,
            present=present,
            problems=problems or {},
        )
        return dag_versions.save_bundle(state, now=self.clock.now())

    def files(self, digest: str, *results: FileResult, paused: bool = True) -> Saved:
        return dag_versions.save_files("dags", digest, results, paused_at_creation=paused, now=self.clock.now())


@pytest.fixture
def store(clock: TestClock) -> Store:
    store = Store(clock)
    store.bundle(ONE)
    return store


def version_of(dag_id: str) -> int:
    version = Dag.objects.get(pk=dag_id).latest_version
    assert version is not None
    return version.number


def errors() -> dict[str, str]:
    return dict(ImportErrorRow.objects.values_list("file", "message"))


def test_a_new_dag_gets_its_row_its_first_version_and_its_source(store: Store) -> None:
    made = spec(
        "etl",
        description="moves",
        tags=("x", "y"),
        timetable=TimetableSpec(kind="cron", expression="0 0 * * *", description="@daily"),
        max_active_runs=3,
    )
    assert store.files(ONE, good("a.py", made, source=b"text")).new_versions == ("etl",)
    row = Dag.objects.get(pk="etl")
    assert (row.bundle_name, row.file, row.active, row.paused, row.replan) == ("dags", "a.py", True, True, True)
    assert (row.description, row.schedule, row.owners, row.max_active_runs) == ("moves", "@daily", "ann", 3)
    assert (row.latest_bundle_id, row.parsed_at) == (ONE, store.clock.now())
    assert set(DagTag.objects.values_list("name", flat=True)) == {"x", "y"}
    version = DagVersion.objects.get(dag="etl")
    assert (version.number, version.hash) == (1, dag_hash(made))
    assert versions.spec(version.id) == made
    assert versions.source(version.id) == "text"
    assert Bundle.objects.get(pk=ONE).size_bytes == 10


def test_the_same_dag_makes_no_second_version_and_is_not_planned_again(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")))
    Dag.objects.update(replan=False)
    store.bundle(TWO)
    assert store.files(TWO, good("a.py", spec("etl"), source=b"other text")) == Saved()
    assert version_of("etl") == 1
    row = Dag.objects.get(pk="etl")
    assert (row.latest_bundle_id, row.replan) == (TWO, False)


def test_a_changed_dag_makes_the_next_version_and_the_old_one_stays(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl", tags=("old", "both"))))
    Dag.objects.update(replan=False, paused=False)
    changed = spec("etl", description="new", tags=("both", "new"))
    assert store.files(ONE, good("a.py", changed)).new_versions == ("etl",)
    assert version_of("etl") == 2
    row = Dag.objects.get(pk="etl")
    assert (row.description, row.replan, row.paused) == ("new", True, False)
    assert set(DagTag.objects.values_list("name", flat=True)) == {"both", "new"}
    assert DagVersion.objects.filter(dag="etl").count() == 2


def test_a_dag_changed_back_takes_up_its_earlier_version(store: Store) -> None:
    for description in ("one", "two", "one"):
        saved = store.files(ONE, good("a.py", spec("etl", description=description)))
    assert saved == Saved()
    assert version_of("etl") == 1
    assert Dag.objects.get(pk="etl").description == "one"
    assert Dag.objects.get(pk="etl").replan
    store.files(ONE, good("a.py", spec("etl", description="three")))
    assert version_of("etl") == 3


@pytest.mark.parametrize(
    ("asked", "default", "paused"), [(None, True, True), (None, False, False), (False, True, False)]
)
def test_a_dag_starts_paused_as_it_or_the_deployment_says(
    store: Store, asked: bool | None, default: bool, paused: bool
) -> None:
    store.files(ONE, good("a.py", spec("etl", is_paused_upon_creation=asked)), paused=default)
    assert Dag.objects.get(pk="etl").paused is paused


def test_a_dag_that_its_file_no_longer_defines_is_retired_and_keeps_its_history(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl"), spec("old")))
    assert store.files(ONE, good("a.py", spec("etl"))).retired == ("old",)
    assert not Dag.objects.get(pk="old").active
    assert DagVersion.objects.filter(dag="old").exists()
    assert store.files(ONE, good("a.py", spec("etl"), spec("old"))) == Saved()
    row = Dag.objects.get(pk="old")
    assert (row.active, row.replan) == (True, True)


def test_a_dag_that_moves_to_another_file_is_not_retired(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")))
    saved = store.files(ONE, good("a.py"), good("b.py", spec("etl", file="b.py")))
    assert saved.retired == ()
    row = Dag.objects.get(pk="etl")
    assert (row.active, row.file) == (True, "b.py")


def test_a_vanished_file_retires_its_dags(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")), good("b.py", spec("ml", file="b.py")))
    assert store.bundle(TWO, present=("b.py",)) == ("etl",)
    assert set(Dag.objects.filter(active=True).values_list("dag_id", flat=True)) == {"ml"}


def test_a_folder_that_cannot_be_read_retires_nothing(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")))
    assert store.bundle("", present=(), problems={".": "The DAG folder is gone."}) == ()
    assert Dag.objects.get(pk="etl").active
    assert errors() == {".": "The DAG folder is gone."}
    store.bundle(ONE)
    assert errors() == {}


def test_a_broken_file_leaves_its_dags_at_their_last_good_version_and_bundle(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")))
    store.bundle(TWO)
    assert store.files(TWO, broken("a.py")) == Saved()
    row = Dag.objects.get(pk="etl")
    assert (row.active, row.latest_bundle_id) == (True, ONE)
    assert errors() == {"a.py": "SyntaxError: no"}


def test_an_import_error_keeps_when_it_was_first_seen_until_it_is_mended(store: Store) -> None:
    store.files(ONE, broken("a.py", "first\x00", "trace\x00back"))
    first = store.clock.now()
    store.clock.advance(60)
    store.files(ONE, broken("a.py", "second"))
    row = ImportErrorRow.objects.get()
    assert (row.message, row.first_seen_at, row.seen_at) == ("second", first, store.clock.now())
    store.files(ONE, good("a.py", spec("etl")))
    assert errors() == {}


def test_errors_of_files_that_are_gone_go_and_problems_of_others_come(store: Store) -> None:
    store.files(ONE, broken("a.py"), broken("b.py"))
    store.bundle(TWO, present=("b.py",), problems={".airflowignore": "Line 1 is ignored."})
    assert errors() == {"b.py": "SyntaxError: no", ".airflowignore": "Line 1 is ignored."}


def test_a_file_with_a_duplicate_keeps_its_other_dags_and_shows_the_error(store: Store) -> None:
    result = FileResult(file="a.py", dags=(spec("mine"),), error="The DAG 'x' is already defined in b.py.")
    store.files(ONE, good("b.py", spec("x", file="b.py")), result)
    assert set(Dag.objects.filter(active=True).values_list("dag_id", "file")) == {("x", "b.py"), ("mine", "a.py")}
    assert list(errors()) == ["a.py"]


def test_dags_of_settled_files_move_to_the_new_bundle_and_no_others(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")), good("b.py", spec("ml", file="b.py")))
    store.bundle(TWO, settled=("a.py",))
    assert dict(Dag.objects.values_list("dag_id", "latest_bundle")) == {"etl": TWO, "ml": ONE}


def test_dags_of_folders_that_are_not_configured_any_more_are_retired(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")), broken("b.py"))
    assert dag_versions.retire_other_bundles(["dags"]) == ()
    assert dag_versions.retire_other_bundles(["elsewhere"]) == ("etl",)
    assert errors() == {}
    assert dag_versions.known_owners() == {}


def test_who_owns_what_is_known_after_a_restart(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")), good("b.py", spec("ml", file="b.py")))
    assert dag_versions.known_owners() == {"etl": ("dags", "a.py"), "ml": ("dags", "b.py")}


def test_a_file_asked_for_again_counts_until_its_dags_are_saved(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")), good("b.py", spec("ml", file="b.py")))
    assert dag_versions.asked_again() == frozenset()
    assert dag_versions.ask_again(["etl"]) == 1
    assert dag_versions.asked_again() == {("dags", "a.py")}
    store.files(ONE, good("a.py", spec("etl")))
    assert dag_versions.asked_again() == frozenset()
    assert dag_versions.ask_again() == 2


def test_long_and_odd_texts_fit_their_columns(store: Store) -> None:
    odd = spec("etl", display_name="n" * 900, description="a\x00b", tags=("t" * 300, "t" * 300))
    store.files(ONE, good("a.py", odd))
    row = Dag.objects.get(pk="etl")
    assert (len(row.display_name), row.description) == (500, "ab")
    assert [len(tag) for tag in DagTag.objects.values_list("name", flat=True)] == [100]


def test_bundles_in_use_are_those_of_the_next_runs(store: Store) -> None:
    store.files(ONE, good("a.py", spec("etl")))
    store.bundle(TWO)
    assert dag_versions.bundles_in_use() == {ONE}


def test_a_batch_costs_the_same_number_of_statements_whatever_its_size(store: Store) -> None:
    def cost(count: int, prefix: str) -> int:
        files = [
            good(f"{prefix}{n}.py", spec(f"{prefix}{n}", file=f"{prefix}{n}.py", tags=("x",))) for n in range(count)
        ]
        with CaptureQueriesContext(
            connection,
        ) as queries:
            store.files(ONE, *files)
        return len(queries)

    assert cost(40, "many") == cost(2, "few")
