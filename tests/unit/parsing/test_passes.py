"""Looks at real folders, imports in real processes: what is kept after each change, and what is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from execplane.bundles.options import BundleOptions
from execplane.parsing.passes import WHOLE_FOLDER, name_folders
from execplane.parsing.plan import FileRef
from tests.unit.parsing.conftest import DAG, Watched


def test_the_first_look_imports_every_candidate_and_no_other_file(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"), **{"sub/b": DAG.format("b")}, helper="X = 1")
    watched.look()
    assert watched.imported == ["a.py", "sub/b.py"]
    assert watched.owners == {"a": "dags:a.py", "b": "dags:sub/b.py"}
    (update,) = watched.bundles
    assert (update.files, set(update.present), set(update.settled)) == (3, {"a.py", "sub/b.py"}, set())


def test_a_second_look_at_an_unchanged_folder_gives_nothing(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"))
    watched.look()
    assert watched.look() is None
    assert (watched.imported, watched.bundles) == ([], [])


def test_only_what_changed_is_imported_and_the_rest_moves_to_the_new_bundle(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"), b=DAG.format("b"))
    watched.look()
    watched.write(b=DAG.format("b2"), c=DAG.format("c"))
    watched.look()
    assert watched.imported == ["b.py", "c.py"]
    assert watched.bundles[0].settled == ("a.py",)
    assert watched.owners == {"a": "dags:a.py", "b2": "dags:b.py", "c": "dags:c.py"}


def test_a_changed_helper_imports_the_files_that_use_it(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a="# airflow dag\nimport helper\nDAGS = [helper.ID]", b=DAG.format("b"), helper="ID = 'one'")
    watched.look()
    watched.write(helper="ID = 'two'")
    watched.look()
    assert watched.imported == ["a.py"]
    assert set(watched.owners) == {"two", "b"}


def test_a_file_that_makes_dags_of_a_listing_follows_it(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(
        a="# airflow dag\nimport os\nDAGS = [n[:-5] for n in os.listdir(os.path.dirname(__file__)) if '.yaml' in n]",
        b=DAG.format("b"),
    )
    folder = watched.folders[0].path
    (folder / "x.yaml").write_text("")
    watched.look()
    (folder / "y.yaml").write_text("")
    watched.look()
    assert watched.imported == ["a.py"]
    assert set(watched.owners) == {"x", "y", "b"}


def test_a_touched_file_is_not_imported(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"))
    watched.look()
    os.utime(watched.folders[0].path / "a.py", (1, 1))
    watched.look()
    assert watched.imported == []


def test_a_removed_file_takes_its_dags_and_errors_with_it(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"), bad="# airflow dag\n1/0")
    watched.look()
    assert watched.errors == {"bad.py": "ZeroDivisionError: division by zero"}
    for name in ("a", "bad"):
        (watched.folders[0].path / f"{name}.py").unlink()
    watched.look()
    assert (watched.owners, watched.errors) == ({}, {})


def test_a_file_that_breaks_keeps_its_dags_and_says_why_until_it_is_mended(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"))
    watched.look()
    watched.write(a="# airflow dag\nDAGS = [")
    watched.look()
    assert watched.owners == {"a": "dags:a.py"}
    assert "SyntaxError" in watched.errors["a.py"]
    assert watched.bundles[0].settled == ()
    watched.write(a=DAG.format("a"))
    watched.look()
    assert watched.errors == {}


def test_a_broken_file_is_imported_again_when_what_it_misses_comes(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a="# airflow dag\nimport late\nDAGS = ['a']", b=DAG.format("b"))
    watched.look()
    assert "No module named 'late'" in watched.errors["a.py"]
    watched.write(late="")
    watched.look()
    assert (watched.imported, watched.errors) == (["a.py"], {})


def test_a_broken_file_is_tried_again_after_a_while_less_and_less_often(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a="# airflow dag\nraise OSError('no such host')")
    watched.look()
    for seconds in (300, 600, 1200):
        watched.clock.seconds += seconds - 1
        watched.look()
        assert watched.imported == []
        watched.clock.seconds += 1
        watched.look()
        assert watched.imported == ["a.py"]


def test_a_forced_file_is_imported_though_nothing_changed(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"), b=DAG.format("b"))
    watched.look()
    watched.look(force=(FileRef("dags", "b.py"),))
    assert watched.imported == ["b.py"]


def test_a_folder_being_written_is_waited_for(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"))
    watched.look(at_once=False)
    watched.write(b=DAG.format("b"))
    assert watched.look(at_once=False) is not None
    assert watched.imported == []
    watched.write(c=DAG.format("c"))
    assert watched.look(at_once=False) is not None
    assert watched.look(at_once=False) is None
    assert watched.imported == ["b.py", "c.py"]


def test_a_folder_that_is_always_being_written_is_read_in_the_end(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("a"))
    watched.look(at_once=False)
    for number in range(10):
        watched.write(a=DAG.format(f"a{number}"))
        watched.look(at_once=False)
        if watched.imported:
            break
        watched.clock.seconds += 1
    assert number == 5
    assert set(watched.owners) == {"a5"}


def test_a_swapped_symlink_is_read_at_once(watch: Callable[..., Watched], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(DAG.format(name))
    (tmp_path / "current").symlink_to("one")
    watched = watch("current")
    watched.look(at_once=False)
    (tmp_path / "next").symlink_to("two")
    os.rename(tmp_path / "next", tmp_path / "current")
    watched.look(at_once=False)
    assert watched.owners == {"two": "current:a.py"}


def test_two_files_with_one_dag_id_the_first_in_order_wins_and_the_other_says_why(
    watch: Callable[..., Watched],
) -> None:
    watched = watch()
    watched.write(a=DAG.format("x"), b="# airflow dag\nDAGS = ['x', 'mine']", c=DAG.format("x"))
    watched.look()
    assert watched.owners == {"x": "dags:a.py", "mine": "dags:b.py"}
    for name in ("b.py", "c.py"):
        assert watched.errors[name] == (
            f"The DAG 'x' is already defined in a.py (dags), so the one in {name} (dags) is left out. "
            "Rename one of them."
        )


def test_a_newcomer_does_not_take_a_dag_that_another_file_has(watch: Callable[..., Watched]) -> None:
    watched = watch(established={"x": FileRef("dags", "b.py")})
    watched.write(b=DAG.format("x"), a=DAG.format("x"))
    watched.look()
    assert watched.owners == {"x": "dags:b.py"}
    assert "already defined in b.py" in watched.errors["a.py"]


def test_a_dag_goes_to_the_other_file_when_its_owner_lets_go(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("x"), b=DAG.format("x"))
    watched.look()
    watched.write(a=DAG.format("y"))
    watched.look()
    assert watched.owners == {"y": "dags:a.py", "x": "dags:b.py"}
    assert watched.errors == {}


def test_a_dag_goes_to_the_other_file_when_its_owner_is_removed(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=DAG.format("x"), b=DAG.format("x"))
    watched.look()
    (watched.folders[0].path / "a.py").unlink()
    watched.look()
    assert (watched.owners, watched.errors) == ({"x": "dags:b.py"}, {})


def test_several_folders_are_several_bundles_and_share_dag_ids(watch: Callable[..., Watched]) -> None:
    watched = watch("etl", "ml")
    watched.write(0, a=DAG.format("x"))
    watched.write(1, a="# airflow dag\nDAGS = ['x', 'y']")
    watched.look()
    assert watched.owners == {"x": "etl:a.py", "y": "ml:a.py"}
    assert watched.errors["a.py"].startswith("The DAG 'x' is already defined in a.py (etl)")
    assert len(set(watched.parsing.digests.values())) == 2


def test_a_folder_that_is_gone_keeps_its_dags_and_says_so_once(watch: Callable[..., Watched]) -> None:
    watched = watch("dags", "other")
    watched.write(0, a=DAG.format("a"))
    watched.write(1, b=DAG.format("b"))
    watched.look()
    folder = watched.folders[0].path
    os.rename(folder, folder.with_name("away"))
    watched.write(1, b=DAG.format("b2"))
    watched.look()
    assert watched.owners == {"a": "dags:a.py", "b2": "other:b.py"}
    assert "does not exist" in watched.errors[WHOLE_FOLDER]
    watched.look()
    assert watched.bundles == []
    os.rename(folder.with_name("away"), folder)
    watched.look()
    assert WHOLE_FOLDER not in watched.errors


def test_a_folder_above_its_limit_is_an_error_of_the_folder(watch: Callable[..., Watched]) -> None:
    watched = watch(bundle_options=BundleOptions(max_files=1))
    watched.write(a=DAG.format("a"), b="")
    watched.look()
    assert "more than 1 files" in watched.errors[WHOLE_FOLDER]


def test_a_module_that_airflowignore_hides_is_explained(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a="# airflow dag\nfrom lib.x import y", **{"lib/x": "y = 1"})
    (watched.folders[0].path / ".airflowignore").write_text("lib/\n")
    watched.look()
    assert "No module named 'lib'" in watched.errors["a.py"]
    assert "lib/ is named in .airflowignore" in watched.errors["a.py"]


def test_hidden_files_can_be_imported_from_when_they_are_kept(watch: Callable[..., Watched]) -> None:
    watched = watch(bundle_options=BundleOptions(keep_ignored=True))
    watched.write(a="# airflow dag\nfrom lib.x import y\nDAGS = [y]", **{"lib/x": "y = 'a'  # airflow dag"})
    (watched.folders[0].path / ".airflowignore").write_text("lib/\n")
    watched.look()
    assert watched.imported == ["a.py"]
    assert watched.owners == {"a": "dags:a.py"}


def test_errors_name_the_authors_folder(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a="# airflow dag\nraise ValueError(__file__)")
    watched.look()
    assert watched.errors["a.py"] == f"ValueError: {watched.folders[0].path}/a.py"


def test_folders_with_one_name_are_told_apart() -> None:
    names = [folder.name for folder in name_folders([Path("/a/dags"), Path("/b/dags"), Path("/c/x"), Path("/d/dags")])]
    assert names == ["dags", "dags-2", "x", "dags-3"]
