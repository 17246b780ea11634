"""Which files are imported on their own, and what is said about a module that .airflowignore hides."""

from __future__ import annotations

import pytest

from execplane.bundles.folder import Listing
from execplane.bundles.manifest import ManifestFile, make_manifest
from execplane.parsing.candidates import hidden_module, may_define_dags, python_files


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (b"from airflow import DAG", True),
        (b"from execplane import task  # my_dag", True),
        (b"import AIRFLOW; Dag", True),
        (b"from airflow import x", False),
        (b"dag = 1", False),
        (b"", False),
    ],
)
def test_a_file_must_speak_of_dags_and_of_airflow_or_execplane(text: bytes, may: bool) -> None:
    assert may_define_dags(text) is may


def test_hidden_and_other_files_are_no_candidates() -> None:
    names = ["a.py", "lib/b.py", "c.sql", "d.pyx"]
    manifest = make_manifest({name: ManifestFile(path=name, sha256="", size_bytes=0) for name in names})
    listing = Listing(root="/", files={}, hidden=frozenset({"lib/"}))
    assert list(python_files(manifest, listing)) == ["a.py"]


@pytest.mark.parametrize(
    ("module", "hidden", "named"),
    [
        ("lib", "lib/", True),
        ("lib.part", "lib/", True),
        ("lib.part", "lib/part.py", True),
        ("helpers", "helpers.py", True),
        ("library", "lib/", False),
        ("pandas", "lib/", False),
    ],
)
def test_a_missing_module_that_airflowignore_hides_is_explained(module: str, hidden: str, named: bool) -> None:
    listing = Listing(root="/", files={}, hidden=frozenset({hidden}))
    said = hidden_module(f"ModuleNotFoundError: No module named '{module}'", listing)
    assert (hidden in said) is named
    assert bool(said) is named
