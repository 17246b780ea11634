"""Which files to import now, from what is known of them and what lies in the folder. Pure.

A file is imported again when it changed, when something that it read or listed while it was imported changed, or,
if it failed, when anything changed at all: what it missed may have come.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from execplane.bundles.manifest import Manifest


@dataclass(frozen=True)
class FileRef:
    """One DAG file: the bundle's name and the path in it. Its order is the order of folders, then of paths."""

    bundle: str
    file: str

    def __str__(self) -> str:
        return self.file


class Tree:
    """A bundle's files as the planner asks for them."""

    def __init__(self, digest: str, manifest: Manifest) -> None:
        self.digest = digest
        self.shas = {file.path: file.sha256 for file in manifest.files}
        self._names: dict[str, frozenset[str]] | None = None

    def sha(self, path: str) -> str | None:
        """None: there is no such file."""
        return self.shas.get(path)

    def names(self, folder: str) -> frozenset[str]:
        """What a folder ("" is the root) contains, by name."""
        if self._names is None:
            found: dict[str, set[str]] = {}
            for path in self.shas:
                parts = path.split("/")
                for depth, name in enumerate(parts):
                    found.setdefault("/".join(parts[:depth]), set()).add(name)
            self._names = {folder: frozenset(names) for folder, names in found.items()}
        return self._names.get(folder, frozenset())


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What one import of one file showed, and everything in the bundle that it depended on."""

    sha256: str
    digest: str
    """The bundle it was imported from."""
    dag_ids: frozenset[str] = frozenset()
    failed: bool = False
    failures: int = 0
    """How often in a row."""
    inputs: Mapping[str, str | None] = field(default_factory=dict)
    listed: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def holds(self, tree: Tree) -> bool:
        """Whether an import from `tree` would show the same."""
        if self.digest == tree.digest:
            return True
        if self.failed:
            return False
        return all(tree.sha(path) == sha for path, sha in self.inputs.items()) and all(
            tree.names(folder) == names for folder, names in self.listed.items()
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    parse: tuple[str, ...]
    """In path order."""
    settled: tuple[str, ...]
    """Files that imported well and need no import: their DAGs may move on to the new bundle."""
    removed: tuple[str, ...]


def plan(
    records: Mapping[str, FileRecord], candidates: Collection[str], tree: Tree, *, force: Collection[str] = ()
) -> Plan:
    """`records` by path; `candidates` are the files of `tree` that may define DAGs; those in `force` are imported
    whatever is known of them."""
    parse, settled = [], []
    for path in sorted(candidates):
        record = records.get(path)
        if record is None or path in force or record.sha256 != tree.sha(path) or not record.holds(tree):
            parse.append(path)
        elif not record.failed:
            settled.append(path)
    removed = sorted(path for path in records if path not in candidates)
    return Plan(parse=tuple(parse), settled=tuple(settled), removed=tuple(removed))


def make_record(
    tree: Tree,
    path: str,
    *,
    dag_ids: Collection[str],
    failures: int,
    inputs: Collection[str],
    listed: Collection[str],
) -> FileRecord:
    """The record of an import of `path` from `tree`."""
    return FileRecord(
        sha256=tree.shas[path],
        digest=tree.digest,
        dag_ids=frozenset(dag_ids),
        failed=failures > 0,
        failures=failures,
        inputs={name: tree.sha(name) for name in inputs},
        listed={folder: tree.names(folder) for folder in listed},
    )
