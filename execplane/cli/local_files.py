"""Finds a DAG without the database: in the file that is named, or in the DAG folders by its id."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from execplane.cli.output import harmless, remark
from execplane.contract.errors import DagImportError, InvalidInput, NotFound

if TYPE_CHECKING:
    from execplane.config import Config
    from execplane.contract.dag import DagSpec
    from execplane.sdk.dags import DAG
    from execplane.sdk.loader import LoadedFile


_MOST_BROKEN = 5


@dataclass(frozen=True, kw_only=True)
class FoundDag:
    dag: DAG
    spec: DagSpec


def find_dag(config: Config, target: str, dag_id: str | None) -> FoundDag:
    """The DAG that is meant by a file or an id. Raises NotFound, InvalidInput, DagImportError."""
    path = Path(target)
    if target.endswith(".py") or path.is_file():
        if not path.is_file():
            raise NotFound(f"There is no file {target}.")
        root = next((f for f in config.dags_folders if path.absolute().is_relative_to(f)), path.absolute().parent)
        return _ready(config, _only(_load(path, root), dag_id), root)
    wanted = dag_id or target
    broken: list[str] = []
    for file, root in _candidates(config.dags_folders, wanted):
        loaded = _load(file, root)
        if wanted in loaded.dags:
            return _ready(config, loaded.dags[wanted], root)
        if loaded.error:
            broken.append(f"{file}: {loaded.error}")
    folders = ", ".join(str(folder) for folder in config.dags_folders)
    raise _not_found(f"No file in {folders} defines the DAG {wanted}", broken)


def _not_found(message: str, broken: list[str]) -> NotFound:
    """Files that cannot be imported may define it: those that mention it come first."""
    hint = "Name its file: execplane dags test FILE"
    if not broken:
        return NotFound(f"{message}.", hint=hint)
    for line in broken[:_MOST_BROKEN]:
        remark(harmless(line))
    if len(broken) > _MOST_BROKEN:
        remark(f"… and {len(broken) - _MOST_BROKEN} more.")
    files = "the file above, which" if len(broken) == 1 else "one of the files above, which"
    return NotFound(f"{message}, unless it is {files} cannot be imported.", hint=hint)


def _candidates(folders: list[Path], dag_id: str) -> Iterator[tuple[Path, Path]]:
    """Files that mention the id first; ids are also made up in loops, so then all others."""
    from execplane.bundles.folder import Folder
    from execplane.bundles.options import BundleOptions
    from execplane.sdk.loader import might_contain_dags

    later: list[tuple[Path, Path]] = []
    for folder in folders:
        if not folder.is_dir():
            continue
        listing = Folder(folder, BundleOptions()).scan()
        for name in sorted(listing.files):
            file = folder / name
            if not name.endswith(".py") or listing.is_hidden(name):
                continue
            source = file.read_bytes()
            if dag_id.encode() in source:
                yield file, folder
            elif might_contain_dags(source):
                later.append((file, folder))
    yield from later


def _load(path: Path, root: Path) -> LoadedFile:
    from execplane.sdk import services
    from execplane.sdk.loader import load_file

    outside = services.ImportServices({})
    with services.use(outside):
        loaded = load_file(path, root)
    if outside.asked:
        names = ", ".join(sorted(outside.asked))
        remark(harmless(f"{path.name} reads Variables ({names}): here they come from AIRFLOW_VAR_… only."))
    return loaded


def _only(loaded: LoadedFile, dag_id: str | None) -> DAG:
    if loaded.error:
        print(harmless(loaded.traceback.rstrip()), file=sys.stderr)  # noqa: T201 - the command's own output
        raise DagImportError(f"{loaded.file} cannot be imported: {loaded.error}")
    if dag_id is not None:
        return loaded.dag(dag_id)
    if not loaded.dags:
        raise NotFound(f"{loaded.file} defines no DAG.", hint="A DAG must be a module-level name, or used with `with`.")
    if len(loaded.dags) > 1:
        raise InvalidInput(f"{loaded.file} defines {', '.join(sorted(loaded.dags))}.", hint="Choose one with --dag-id.")
    return next(iter(loaded.dags.values()))


def _ready(config: Config, dag: DAG, root: Path) -> FoundDag:
    from execplane.sdk.options import Defaults
    from execplane.sdk.serialise import serialise

    defaults = Defaults(
        timetable_semantics=config.scheduler.timetable_semantics, catchup=config.scheduler.catchup_by_default
    )
    return FoundDag(dag=dag, spec=serialise(dag, bundle_root=str(root), defaults=defaults))
