"""Exactly those files are imported whose import could show something else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from execplane.bundles.manifest import ManifestFile, bundle_digest, make_manifest
from execplane.parsing.plan import FileRecord, Tree, make_record, plan

PATHS = ["a.py", "b.py", "lib/x.py", "lib/y.py", "data/one.yaml", "data/two.yaml"]
DAG_FILES = {"a.py", "b.py", "lib/x.py"}
FOLDERS = ["", "lib", "data"]
trees = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(["1", "2"]))
reads = st.fixed_dictionaries({path: st.frozensets(st.sampled_from(PATHS)) for path in sorted(DAG_FILES)})
lists = st.fixed_dictionaries({path: st.frozensets(st.sampled_from(FOLDERS)) for path in sorted(DAG_FILES)})
fails = st.frozensets(st.sampled_from(sorted(DAG_FILES)))


def tree(files: dict[str, str]) -> Tree:
    manifest = make_manifest({path: ManifestFile(path=path, sha256=text, size_bytes=1) for path, text in files.items()})
    return Tree(bundle_digest(manifest), manifest)


def records(
    files: dict[str, str],
    read: dict[str, frozenset[str]],
    listed: dict[str, frozenset[str]],
    failed: frozenset[str] = frozenset(),
) -> dict[str, FileRecord]:
    before = tree(files)
    return {
        path: make_record(
            before, path, dag_ids=[], failures=int(path in failed), inputs={path, *read[path]}, listed=listed[path]
        )
        for path in DAG_FILES & set(files)
    }


def what_an_import_sees(
    files: dict[str, str], path: str, read: frozenset[str], listed: frozenset[str]
) -> tuple[object, ...]:
    """The oracle: everything that an import of `path` looks at."""
    texts = {name: files.get(name) for name in {path, *read}}
    names = {
        folder: {
            name[len(folder) + 1 if folder else 0 :].split("/")[0]
            for name in files
            if name.startswith(f"{folder}/") or not folder
        }
        for folder in listed
    }
    return texts, names


@given(before=trees, after=trees, read=reads, listed=lists)
def test_a_file_is_imported_exactly_when_something_it_looked_at_changed(
    before: dict[str, str],
    after: dict[str, str],
    read: dict[str, frozenset[str]],
    listed: dict[str, frozenset[str]],
) -> None:
    candidates = DAG_FILES & set(after)
    planned = plan(records(before, read, listed), candidates, tree(after))
    wanted = {
        path
        for path in candidates
        if path not in before
        or what_an_import_sees(before, path, read[path], listed[path])
        != what_an_import_sees(after, path, read[path], listed[path])
    }
    assert set(planned.parse) == wanted
    assert set(planned.settled) == candidates - wanted
    assert set(planned.removed) == (DAG_FILES & set(before)) - candidates
    assert list(planned.parse) == sorted(planned.parse)


@given(before=trees, after=trees, read=reads, listed=lists, failed=fails)
def test_what_failed_is_imported_whenever_anything_changed_and_never_settled(
    before: dict[str, str],
    after: dict[str, str],
    read: dict[str, frozenset[str]],
    listed: dict[str, frozenset[str]],
    failed: frozenset[str],
) -> None:
    candidates = DAG_FILES & set(after)
    planned = plan(records(before, read, listed, failed), candidates, tree(after))
    assert not failed & set(planned.settled) & set(before)
    assert (failed & candidates <= set(planned.parse)) or before == after


@given(files=trees, read=reads, listed=lists, failed=fails)
def test_an_unchanged_folder_needs_nothing_unless_forced(
    files: dict[str, str],
    read: dict[str, frozenset[str]],
    listed: dict[str, frozenset[str]],
    failed: frozenset[str],
) -> None:
    known, candidates = records(files, read, listed, failed), DAG_FILES & set(files)
    assert plan(known, candidates, tree(files)).parse == ()
    assert set(plan(known, candidates, tree(files), force=candidates).parse) == candidates
