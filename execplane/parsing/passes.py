"""One look at the DAG folders after another: what changed, what must be imported, what came of it.

Knows no database: it says what to keep, and its loop keeps it. A bundle is read only when a look at its folder
differs from the last one, and holds still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from execplane.bundles.folder import Folder, Listing
from execplane.bundles.options import BundleOptions
from execplane.bundles.places import BundlePlaces
from execplane.bundles.snapshot import Snapshot, Snapshotter
from execplane.contract.blobs import BlobStore
from execplane.contract.clock import Clock
from execplane.contract.dag import ParsedFile
from execplane.contract.errors import ExecplaneError, Unavailable
from execplane.parsing.candidates import hidden_module, may_define_dags, python_files
from execplane.parsing.options import ParsingOptions
from execplane.parsing.owners import Claims, duplicate_error
from execplane.parsing.parsers import Finished, Parsers, rewrite_paths
from execplane.parsing.plan import FileRecord, FileRef, Tree, make_record, plan
from execplane.parsing.variables import FileVariables, Given, StoredVariables

WHOLE_FOLDER = "."
"""The "file" of a problem that concerns a folder as a whole."""
_RETRY_CAP_SECONDS = 3600.0
_REMEMBERED_FILES = 100_000


@dataclass(frozen=True, kw_only=True)
class NamedFolder:
    name: str
    """The bundle's name."""
    path: Path


@dataclass(frozen=True, kw_only=True)
class BundleUpdate:
    """A folder has a new state. `digest` is "" when it could not be read: then its DAGs stay as they are."""

    name: str
    digest: str = ""
    size_bytes: int = 0
    files: int = 0
    settled: tuple[str, ...] = ()
    """DAG files that need no import: their DAGs move on to this digest."""
    present: frozenset[str] = frozenset()
    """Every file that may define DAGs; what others defined is gone."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Path (or WHOLE_FOLDER) -> import error; these are all there are besides those of imported files."""


@dataclass(frozen=True, kw_only=True)
class FileUpdate:
    """One file was imported. `parsed` holds only the DAGs that this file owns."""

    file: FileRef
    digest: str
    parsed: ParsedFile
    source: bytes = b""
    defines: bool = True
    """False: what the file defines is not known, only its error is news, and its DAGs stay as they are."""


@dataclass(kw_only=True)
class _Bundle:
    """What is known of one folder."""

    folder: NamedFolder
    snapshotter: Snapshotter
    snapshot: Snapshot | None = None
    tree: Tree | None = None
    candidates: frozenset[str] = frozenset()
    update: BundleUpdate | None = None
    records: dict[str, FileRecord] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    retry_at: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    moving: Listing | None = None
    moving_since: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Job:
    bundle: _Bundle
    tree: Tree
    got: Given
    rounds: int = 1


def name_folders(paths: Sequence[Path]) -> tuple[NamedFolder, ...]:
    """Folders by their last part, told apart by a number where that is taken."""
    names: dict[str, NamedFolder] = {}
    for path in paths:
        base = path.name or "dags"
        numbered = (base if number == 1 else f"{base}-{number}" for number in range(1, len(paths) + 1))
        name = next(candidate for candidate in numbered if candidate not in names)
        names[name] = NamedFolder(name=name, path=path)
    return tuple(names.values())


class ParsePass:
    """Looks, plans, imports. `established` are the owners of DAGs as they were stored last."""

    def __init__(
        self,
        folders: Sequence[NamedFolder],
        *,
        options: ParsingOptions,
        bundle_options: BundleOptions,
        blobs: BlobStore,
        places: BundlePlaces,
        parsers: Parsers,
        clock: Clock,
        established: Mapping[str, FileRef],
        variables: StoredVariables,
    ) -> None:
        self._variables = FileVariables(variables)
        self._options = options
        self._blobs = blobs
        self._places = places
        self._parsers = parsers
        self._clock = clock
        order = {folder.name: number for number, folder in enumerate(folders)}
        known = {dag_id: owner for dag_id, owner in established.items() if owner.bundle in order}
        self._claims = Claims(known, order)
        self._established_files = frozenset(known.values())
        self._jobs: dict[int, _Job] = {}
        self._arrived: deque[Finished] = deque()
        self._rivals: set[FileRef] = set()
        self._mentions_dags: dict[str, bool] = {}
        self._bundles = {
            folder.name: _Bundle(
                folder=folder,
                snapshotter=Snapshotter(
                    Folder(folder.path, bundle_options), blobs=blobs, options=bundle_options, clock=clock
                ),
            )
            for folder in folders
        }

    @property
    def pending(self) -> int:
        """Imports without a result."""
        return self._parsers.pending + len(self._arrived)

    @property
    def digests(self) -> dict[str, str]:
        """Each bundle's present digest."""
        return {name: bundle.tree.digest for name, bundle in self._bundles.items() if bundle.tree}

    def look(
        self, *, at_once: bool = False, force: Collection[FileRef] = (), retry_failed: bool = False
    ) -> tuple[list[BundleUpdate], float | None]:
        """Look at every folder and plan what to import. Gives what changed, and in how many seconds to look again
        because something moves (None: nothing does).

        at_once: somebody says that the folder is ready, so it is not waited until it holds still.
        """
        updates: list[BundleUpdate] = []
        again: list[float] = []
        outdated = self._variables.outdated()
        for bundle in self._bundles.values():
            forced = {ref.file for ref in force if ref.bundle == bundle.folder.name}
            # One that is being imported is looked at when it is done.
            forced |= {ref.file for ref in outdated if ref.bundle == bundle.folder.name and ref.file not in bundle.jobs}
            forced |= {file for file, record in bundle.records.items() if record.failed and retry_failed}
            try:
                update, seconds = self._look_at(bundle, at_once=at_once, force=forced)
            except ExecplaneError as error:
                update, seconds = self._folder_failed(bundle, error), None
            updates += [update] if update else []
            again += [seconds] if seconds is not None else []
        if not self.pending:
            self._submit_rivals()
        return updates, min(again, default=None)

    def collect(self, wait_seconds: float) -> list[FileUpdate]:
        """What was imported since, to be kept in this order; waits up to `wait_seconds` for something. Raises
        Unavailable when the parser does not start."""
        updates: list[FileUpdate] = []
        if not self._arrived:
            self._arrived.extend(self._parsers.results(wait_seconds))
        while self._arrived:
            finished = self._arrived[0]
            job = self._jobs.get(finished.number)
            try:
                # None, or another's: a newer plan overtook it.
                if job is not None and job.bundle.jobs.get(finished.file) == finished.number:
                    updates += self._arrive(job, finished)
            except Unavailable:
                if updates:
                    break  # Said at the next call, with this one still there.
                raise
            self._jobs.pop(finished.number, None)
            self._arrived.popleft()
        if (updates or self._rivals) and not self.pending:
            self._submit_rivals()
            self._settle()
        return updates

    def stop_when_idle(self) -> float | None:
        """End the parser's process when it has been idle; gives when to ask again, in seconds."""
        return self._parsers.stop_when_idle(self._options.zygote_idle_seconds)

    def close(self) -> None:
        self._parsers.stop()

    def _look_at(self, bundle: _Bundle, *, at_once: bool, force: set[str]) -> tuple[BundleUpdate | None, float | None]:
        now = self._clock.monotonic()
        due = {file for file, moment in bundle.retry_at.items() if moment <= now}
        listing = bundle.snapshotter.folder.scan()
        snapshot = bundle.snapshot
        if snapshot is not None and not bundle.problem and not snapshot.racy and listing == snapshot.listing:
            bundle.moving = None
            if due or force:
                self._plan(bundle, snapshot, force=due | force)
            return None, None
        if snapshot is not None and not at_once and self._still_moving(bundle, listing, now):
            return None, self._options.settle_seconds
        taken = bundle.snapshotter.take()
        update = self._plan(bundle, taken, force=due | force)
        bundle.moving, bundle.problem = None, ""
        return update, self._options.settle_seconds if taken.racy else None

    def _still_moving(self, bundle: _Bundle, listing: Listing, now: float) -> bool:
        """Whether to wait until a folder that is written file by file holds still. A swapped symlink is whole."""
        assert bundle.snapshot is not None
        if listing == bundle.moving or listing.root != bundle.snapshot.listing.root:
            return False
        if listing == bundle.snapshot.listing:
            return False
        if bundle.moving is None:
            bundle.moving_since = now
        bundle.moving = listing
        return now - bundle.moving_since < self._options.settle_cap_seconds

    def _plan(self, bundle: _Bundle, snapshot: Snapshot, *, force: set[str]) -> BundleUpdate | None:
        """Submit what must be imported; gives the folder's new state where it differs from the last one given."""
        tree = bundle.tree
        if tree is None or tree.digest != snapshot.digest:
            tree = Tree(snapshot.digest, snapshot.manifest)
        files = python_files(snapshot.manifest, snapshot.listing)
        candidates = frozenset(path for path, file in files.items() if self._mentions(file.sha256))
        planned = plan(bundle.records, candidates, tree, force=force)
        running = {
            file
            for file, number in bundle.jobs.items()
            if self._jobs[number].tree.digest == tree.digest and file not in force
        }
        self._submit(bundle, tree, [path for path in planned.parse if path not in running])
        self._forget(bundle, candidates)
        bundle.snapshot, bundle.tree, bundle.candidates = snapshot, tree, candidates
        update = BundleUpdate(
            name=bundle.folder.name,
            digest=snapshot.digest,
            size_bytes=snapshot.manifest.size_bytes,
            files=len(snapshot.manifest.files),
            settled=planned.settled,
            present=candidates,
            problems={**snapshot.listing.problems, **snapshot.unreadable},
        )
        previous, bundle.update = bundle.update, update
        same = previous is not None and replace(previous, settled=update.settled) == update
        # What settles does so when the digest changes; at the same digest it has nowhere to move.
        return None if same and not bundle.problem else update

    def _mentions(self, sha256: str) -> bool:
        if len(self._mentions_dags) > _REMEMBERED_FILES:
            self._mentions_dags.clear()
        if sha256 not in self._mentions_dags:
            self._mentions_dags[sha256] = may_define_dags(self._blobs.get(sha256))
        return self._mentions_dags[sha256]

    def _submit(self, bundle: _Bundle, tree: Tree, files: Sequence[str], rounds: int = 1) -> None:
        """Import these, each with the Variables that it got the last time."""
        if not files:
            return
        root = str(self._places.materialise(tree.digest))
        self._abandon(bundle, files)
        given = {file: self._variables.given(FileRef(bundle.folder.name, file)) for file in files}
        numbers = self._parsers.submit(root, files, {file: one.values for file, one in given.items()})
        for file, number in zip(files, numbers, strict=True):
            self._jobs[number] = _Job(bundle=bundle, tree=tree, got=given[file], rounds=rounds)
            bundle.jobs[file] = number
            bundle.retry_at.pop(file, None)

    def _arrive(self, job: _Job, finished: Finished) -> list[FileUpdate]:
        """A finished import: done, or to be done once more with the stored Variables that it asked for."""
        bundle = job.bundle
        ref = FileRef(bundle.folder.name, finished.file)
        again, problem = self._variables.after_import(ref, finished.parsed.variables, job.got, job.rounds)
        if again:
            self._submit(bundle, job.tree, [finished.file], job.rounds + 1)
            return []
        if problem:
            finished = replace(finished, parsed=ParsedFile(file=finished.file, error=problem))
        del bundle.jobs[finished.file]
        return self._take(job, finished)

    def _abandon(self, bundle: _Bundle, files: Sequence[str]) -> None:
        """Results of these files' present jobs are of no interest any more."""
        numbers = [number for file in files if (number := bundle.jobs.pop(file, None)) is not None]
        for number in numbers:
            del self._jobs[number]
        self._parsers.cancel(numbers)

    def _forget(self, bundle: _Bundle, candidates: frozenset[str]) -> None:
        name = bundle.folder.name
        known = {ref.file for ref in self._established_files if ref.bundle == name} if bundle.tree is None else set()
        for file in (known | set(bundle.records) | set(bundle.jobs)) - candidates:
            ref = FileRef(name, file)
            self._rivals |= self._claims.rivals(self._claims.of(ref)) - {ref}
            self._claims.drop(ref)
            self._abandon(bundle, [file])
            bundle.records.pop(file, None)
            self._variables.forget(ref)
            bundle.retry_at.pop(file, None)

    def _take(self, job: _Job, finished: Finished) -> list[FileUpdate]:
        """What one finished import means, for its file and for others that claim the same DAGs."""
        bundle, ref = job.bundle, FileRef(job.bundle.folder.name, finished.file)
        assert bundle.snapshot is not None
        parsed = rewrite_paths(finished.parsed, finished.root, str(bundle.folder.path))
        before = bundle.records.get(finished.file)
        if parsed.error:
            self._claims.keep(ref)
            missing = hidden_module(parsed.traceback or parsed.error, bundle.snapshot.listing)
            parsed = msgspec.structs.replace(parsed, error=parsed.error + missing)
        failures = before.failures + 1 if before and parsed.error else int(bool(parsed.error))
        bundle.records[finished.file] = make_record(
            job.tree,
            finished.file,
            dag_ids=[dag.dag_id for dag in parsed.dags],
            failures=failures,
            inputs=finished.inputs,
            listed=finished.listed,
        )
        if failures and self._options.retry_seconds:
            seconds = min(self._options.retry_seconds * 2 ** min(failures - 1, 16), _RETRY_CAP_SECONDS)
            bundle.retry_at[finished.file] = self._clock.monotonic() + seconds
        source = self._blobs.get(job.tree.shas[finished.file])
        update = FileUpdate(file=ref, digest=job.tree.digest, parsed=parsed, source=source, defines=not parsed.error)
        return self._settle_claims(update) if update.defines else [update]

    def _settle_claims(self, update: FileUpdate) -> list[FileUpdate]:
        ref, before = update.file, self._claims.of(update.file)
        ids = {dag.dag_id for dag in update.parsed.dags}
        owned_before = {dag_id: self._claims.owner(dag_id) for dag_id in ids}
        self._claims.set(ref, ids)
        # What this file no longer defines may now be another's.
        self._rivals |= self._claims.rivals(before - ids)
        owners = {dag_id: owner for dag_id in ids if (owner := self._claims.owner(dag_id)) is not None}
        lost = {dag_id for dag_id, owner in owners.items() if owner != ref}
        updates = [update]
        if lost:
            parsed = msgspec.structs.replace(
                update.parsed,
                dags=tuple(dag for dag in update.parsed.dags if dag.dag_id not in lost),
                error=duplicate_error(ref, lost, owners),
            )
            updates = [replace(update, parsed=parsed)]
        for dag_id in sorted(ids - lost):
            if owned_before[dag_id] not in (None, ref):
                # The former owner lost it, and those that had lost to the former owner name the new one.
                losers = self._claims.rivals([dag_id]) - {ref}
                updates += [self._displaced(loser, dag_id, ref) for loser in sorted(losers, key=str)]
        return updates

    def _displaced(self, loser: FileRef, dag_id: str, owner: FileRef) -> FileUpdate:
        """The error of a file that was imported first and comes second in order."""
        error = duplicate_error(loser, [dag_id], {dag_id: owner})
        tree = self._bundles[loser.bundle].tree
        return FileUpdate(
            file=loser,
            digest=tree.digest if tree else "",
            parsed=ParsedFile(file=loser.file, error=error),
            defines=False,
        )

    def _settle(self) -> None:
        """Everything is imported: whoever owns a DAG now keeps it."""
        if not self.pending and all(bundle.tree for bundle in self._bundles.values()):
            self._claims.settle()

    def _submit_rivals(self) -> None:
        """Import again what may have won a DAG since its own import."""
        rivals, self._rivals = self._rivals, set()
        for bundle in self._bundles.values():
            files = sorted(ref.file for ref in rivals if ref.bundle == bundle.folder.name)
            if bundle.tree is not None:
                self._submit(bundle, bundle.tree, [file for file in files if file in bundle.candidates])

    def _folder_failed(self, bundle: _Bundle, error: ExecplaneError) -> BundleUpdate | None:
        """The folder cannot be read: said once, and its DAGs stay as they are."""
        if bundle.problem == str(error):
            return None
        bundle.problem = str(error)
        return BundleUpdate(name=bundle.folder.name, problems={WHOLE_FOLDER: str(error)})
