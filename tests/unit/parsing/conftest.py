"""DAG folders that are looked at, their pass, and what a store would hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.options import BundleOptions
from execplane.bundles.places import BundlePlaces
from execplane.contract.clock import SystemClock
from execplane.contract.errors import ConfigError, Unavailable
from execplane.parsing.options import Limits, ParsingOptions
from execplane.parsing.parsers import Parsers, parser_environment
from execplane.parsing.passes import BundleUpdate, FileUpdate, NamedFolder, ParsePass, name_folders
from execplane.parsing.plan import FileRef

LIMITS = Limits(loader="tests.unit.parsing.stand_in:load", timeout_seconds=10.0, preload=())
DAG = "# airflow dag\nDAGS = ['{}']\n"


@dataclass
class Clock:
    """Far ahead of the files' times, and moved by hand."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime(2100, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Stored:
    """Variables, who read them, and a lock that no key opens."""

    kept: dict[str, str] = field(default_factory=dict)
    read: list[tuple[str, str]] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    away: bool = False

    def stamps(self, names: Collection[str]) -> Mapping[str, str]:
        if self.away:
            raise Unavailable("The database does not answer.")
        if self.broken.intersection(names):
            raise ValueError("what nobody thought of")
        return {name: f"stamp of {self.kept[name]}" for name in names if name in self.kept}

    def values(self, names: Collection[str], file: str) -> Mapping[str, str]:
        if found := self.lost.intersection(names):
            raise ConfigError(f"The Variable {found.pop()} was encrypted with a lost key.")
        self.read += [(file, name) for name in sorted(names)]
        return {name: self.kept[name] for name in names}


@dataclass
class Watched:
    """Folders, their pass, and what a store would hold."""

    home: Path
    folders: tuple[NamedFolder, ...]
    clock: Clock = field(default_factory=Clock)
    established: dict[str, FileRef] = field(default_factory=dict)
    bundle_options: BundleOptions = field(default_factory=BundleOptions)
    variables: Stored = field(default_factory=lambda: Stored())
    owners: dict[str, str] = field(default_factory=dict)
    failures: dict[FileRef, str] = field(default_factory=dict)
    imported: list[str] = field(default_factory=list)
    bundles: list[BundleUpdate] = field(default_factory=list)
    parsing: ParsePass = field(init=False)

    def __post_init__(self) -> None:
        blobs = FileBlobStore(FileBlobOptions(folder=self.home / "blobs"))
        self.parsing = ParsePass(
            self.folders,
            options=ParsingOptions(limits=LIMITS),
            bundle_options=self.bundle_options,
            blobs=blobs,
            places=BundlePlaces(self.home / "bundles", blobs),
            parsers=Parsers(LIMITS, clock=SystemClock(), environment=parser_environment(os.environ, {})),
            clock=self.clock,
            established=self.established,
            variables=self.variables,
        )

    def write(self, folder: int = 0, /, **files: str) -> None:
        for name, text in files.items():
            path = self.folders[folder].path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def look(self, *, at_once: bool = True, force: tuple[FileRef, ...] = ()) -> float | None:
        """One look, and everything that it sets off."""
        self.imported.clear()
        self.bundles, again = self.parsing.look(at_once=at_once, force=force)
        for update in self.bundles:
            self.failures.update({FileRef(update.name, file): text for file, text in update.problems.items()})
            if update.digest:
                self.owners = {d: file for d, file in self.owners.items() if self._there(update, file)}
                there = {*update.problems, *update.present}
                stale = [ref for ref in self.failures if ref.bundle == update.name and ref.file not in there]
                for ref in stale:
                    del self.failures[ref]
        while self.parsing.pending:
            for result in self.parsing.collect(10):
                self._keep(result)
        self.imported.sort()
        return again

    @property
    def errors(self) -> dict[str, str]:
        return {ref.file: text for ref, text in self.failures.items()}

    def _there(self, update: BundleUpdate, file: str) -> bool:
        bundle, _, path = file.partition(":")
        return bundle != update.name or path in update.present

    def _keep(self, update: FileUpdate) -> None:
        file = f"{update.file.bundle}:{update.file.file}"
        self.failures.pop(update.file, None)
        if update.parsed.error:
            self.failures[update.file] = update.parsed.error
        if update.source:
            self.imported.append(update.file.file)
        if update.defines:
            ids = [dag.dag_id for dag in update.parsed.dags]
            self.owners = {d: f for d, f in self.owners.items() if f != file or d in ids}
            self.owners.update(dict.fromkeys(ids, file))


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def build(*names: str, **more: object) -> Watched:
        paths = [tmp_path / name for name in names or ("dags",)]
        for path in paths:
            if not path.exists():
                path.mkdir()
        folders = name_folders(paths)
        made.append(Watched(home=tmp_path / "home", folders=folders, **more))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for watched in made:
        watched.parsing.close()
