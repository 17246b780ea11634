"""What parsing found, kept: DAGs, their immutable versions, bundles, import errors.

Set-based: a batch of files costs a fixed number of statements. Only the one leased parse loop writes here, so a
version's number is simply the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db.models import Max

from execplane.contract.dag import DagSpec, dag_hash, encode_dag
from execplane.store import blob_rows
from execplane.store.database import nudge, write
from execplane.store.models import Bundle, Dag, DagRun, DagTag, DagVersion, ImportErrorRow
from execplane.store.queries.literal import run_is_active
from execplane.store.texts import without_nul
from execplane.store.transitions.runs import recheck_queued

T = TypeVar("T")

_CHUNK = 500
"""Values in one IN (…): SQLite takes 999 variables in its smallest build."""
_DAG_FIELDS = (
    "display_name",
    "bundle_name",
    "file",
    "active",
    "owners",
    "description",
    "schedule",
    "max_active_runs",
    "max_active_tasks",
    "latest_bundle",
    "latest_version",
    "parsed_at",
)
"""What parsing knows of a DAG. Not `paused`, which is the user's, nor `replan`, which the scheduler takes back."""


@dataclass(frozen=True, kw_only=True)
class BundleState:
    """A folder as it is now. `digest` is "" when it could not be read: then its DAGs stay as they are."""

    name: str
    digest: str = ""
    size_bytes: int = 0
    files: int = 0
    settled: Collection[str] = ()
    """DAG files that import from this digest as they did before: their DAGs move on to it."""
    present: Collection[str] = ()
    """Every file that may define DAGs; DAGs of others are gone."""
    problems: Mapping[str, str]
    """Path -> import error of what is no importable file: the folder itself, .airflowignore, unreadable files."""


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """One imported file. `defines`: `dags` is all that it defines; otherwise only its error is news."""

    file: str
    dags: Sequence[DagSpec] = ()
    error: str = ""
    traceback: str = ""
    source: bytes = b""
    defines: bool = True


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a batch changed: dag_ids."""

    new_versions: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


def save_bundle(state: BundleState, *, now: datetime) -> tuple[str, ...]:
    """Keep a folder's new state; gives the dag_ids that no file defines any more."""
    with write():
        _save_problems(state, now)
        if not state.digest:
            nudge("dags")
            return ()
        row = Bundle(
            digest=state.digest,
            name=state.name,
            size_bytes=state.size_bytes,
            files=state.files,
            manifest_sha256=state.digest,
            created_at=now,
        )
        Bundle.objects.bulk_create([row], ignore_conflicts=True)
        for files in _chunks(state.settled):
            Dag.objects.filter(bundle_name=state.name, file__in=files, active=True).exclude(
                latest_bundle=state.digest
            ).update(latest_bundle=state.digest)
        retired = _retire_absent(state)
        nudge("dags", *(["scheduler"] if retired else []), *(f"dag:{dag_id}" for dag_id in retired))
    return retired


def save_files(
    bundle_name: str, digest: str, results: Sequence[FileResult], *, paused_at_creation: bool, now: datetime
) -> Saved:
    """Keep what importing these files of one bundle gave. The bundle's row must be there."""
    specs = {dag.dag_id: dag for result in results if result.defines for dag in result.dags}
    sources = {dag.dag_id: result.source for result in results for dag in result.dags}
    with write():
        before = {
            dag_id: (version, active)
            for ids in _chunks(specs)
            for dag_id, version, active in Dag.objects.filter(dag_id__in=ids).values_list(
                "dag_id", "latest_version_id", "active"
            )
        }
        versions, created = _save_versions(specs, sources, now)
        changed = [dag_id for dag_id in specs if before.get(dag_id) != (versions[dag_id], True)]
        Dag.objects.bulk_create(
            [
                _dag_row(spec, bundle_name, digest, versions[dag_id], paused_at_creation, now)
                for dag_id, spec in specs.items()
            ],
            update_conflicts=True,
            unique_fields=["dag_id"],
            update_fields=_DAG_FIELDS,
            batch_size=50,
        )
        for ids in _chunks(changed):
            Dag.objects.filter(dag_id__in=ids).update(replan=True)
            recheck_queued(ids, now)
        _save_tags({dag_id: specs[dag_id] for dag_id in changed})
        retired = _retire_undefined(bundle_name, results)
        _save_errors(bundle_name, results, now)
        topics = [f"dag:{dag_id}" for dag_id in (*changed, *retired)]
        nudge("dags", *(["scheduler"] if topics else []), *topics)
    return Saved(new_versions=tuple(created), retired=retired)


def known_owners() -> dict[str, tuple[str, str]]:
    """dag_id -> (bundle name, file) of every DAG that some file defines."""
    rows = Dag.objects.filter(active=True).values_list("dag_id", "bundle_name", "file")
    return {dag_id: (bundle, file) for dag_id, bundle, file in rows.iterator()}


def retire_other_bundles(names: Collection[str]) -> tuple[str, ...]:
    """DAGs and import errors of folders that are not configured any more; gives the dag_ids."""
    with write():
        gone = Dag.objects.filter(active=True).exclude(bundle_name__in=names)
        retired = tuple(gone.values_list("dag_id", flat=True))
        gone.update(active=False)
        ImportErrorRow.objects.exclude(bundle_name__in=names).delete()
        if retired:
            nudge("dags", "scheduler", *(f"dag:{dag_id}" for dag_id in retired))
    return retired


def ask_again(dag_ids: Collection[str] | None = None) -> int:
    """Have the files of these DAGs (None: of all) and all that failed imported anew; gives how many DAGs."""
    with write():
        rows = Dag.objects.filter(active=True)
        if dag_ids is not None:
            rows = rows.filter(dag_id__in=list(dag_ids))
        asked = rows.update(parsed_at=None)
        nudge("refresh")
    return asked


def asked_again() -> frozenset[tuple[str, str]]:
    """(bundle name, file) of what `ask_again` wants. A file counts until its DAGs are saved again."""
    rows = Dag.objects.filter(active=True, parsed_at__isnull=True, latest_version__isnull=False)
    return frozenset(rows.values_list("bundle_name", "file").distinct())


def bundles_in_use() -> frozenset[str]:
    """Digests that the next runs or runs under way need on disk."""
    latest = Dag.objects.filter(active=True, latest_bundle__isnull=False).values_list("latest_bundle_id", flat=True)
    running = DagRun.objects.filter(run_is_active()).values_list("bundle_id", flat=True)
    return frozenset(latest.distinct()) | frozenset(running.distinct())


def _save_problems(state: BundleState, now: datetime) -> None:
    present = set(state.present)
    if state.digest:
        known = ImportErrorRow.objects.filter(bundle_name=state.name).values_list("id", "file")
        stale = [pk for pk, file in known if file not in present and file not in state.problems]
        for ids in _chunks(stale):
            ImportErrorRow.objects.filter(id__in=ids).delete()
    _upsert_errors(state.name, {file: (message, "") for file, message in state.problems.items()}, now)


def _retire_absent(state: BundleState) -> tuple[str, ...]:
    present = set(state.present)
    rows = Dag.objects.filter(bundle_name=state.name, active=True).values_list("dag_id", "file")
    return _retire(dag_id for dag_id, file in rows if file not in present)


def _retire_undefined(bundle_name: str, results: Sequence[FileResult]) -> tuple[str, ...]:
    defined = {(result.file, dag.dag_id) for result in results for dag in result.dags}
    gone = []
    for files in _chunks([result.file for result in results if result.defines]):
        rows = Dag.objects.filter(bundle_name=bundle_name, file__in=files, active=True)
        gone += [dag_id for dag_id, file in rows.values_list("dag_id", "file") if (file, dag_id) not in defined]
    return _retire(gone)


def _retire(dag_ids: Iterable[str]) -> tuple[str, ...]:
    retired = tuple(dag_ids)
    for ids in _chunks(retired):
        Dag.objects.filter(dag_id__in=ids).update(active=False)
    return retired


def _dag_row(
    spec: DagSpec, bundle_name: str, digest: str, version_id: int, paused_at_creation: bool, now: datetime
) -> Dag:
    asked = spec.is_paused_upon_creation
    return Dag(
        dag_id=spec.dag_id,
        display_name=_fit(spec.display_name, 500),
        bundle_name=bundle_name,
        file=spec.file,
        paused=paused_at_creation if asked is None else asked,
        active=True,
        owners=_fit(", ".join(dict.fromkeys(task.owner for task in spec.tasks)), 500),
        description=_fit(spec.description),
        schedule=_fit(spec.timetable.description, 200),
        latest_version_id=version_id,
        latest_bundle_id=digest,
        max_active_runs=spec.max_active_runs,
        max_active_tasks=spec.max_active_tasks,
        parsed_at=now,
        created_at=now,
    )


def _save_versions(
    specs: Mapping[str, DagSpec], sources: Mapping[str, bytes], now: datetime
) -> tuple[dict[str, int], list[str]]:
    """dag_id -> its version's id, and the dag_ids that got a new one."""
    hashes = {dag_id: dag_hash(spec) for dag_id, spec in specs.items()}
    found: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for ids in _chunks(specs):
        for pk, dag_id, hash_ in DagVersion.objects.filter(
            dag_id__in=ids, hash__in=[hashes[dag_id] for dag_id in ids]
        ).values_list("id", "dag_id", "hash"):
            if hashes[dag_id] == hash_:
                found[dag_id] = pk
        newest = DagVersion.objects.filter(dag_id__in=ids).values_list("dag_id").annotate(Max("number"))
        numbers.update(dict(newest))
    created = [dag_id for dag_id in specs if dag_id not in found]
    blobs = blob_rows.put_all([encode_dag(specs[dag_id]) for dag_id in created], now) if created else []
    texts = blob_rows.put_all([sources[dag_id] for dag_id in created], now) if created else []
    rows = [
        DagVersion(
            dag_id=dag_id,
            number=numbers.get(dag_id, 0) + 1,
            hash=hashes[dag_id],
            blob_id=blob,
            source_blob_id=text,
            created_at=now,
        )
        for dag_id, blob, text in zip(created, blobs, texts, strict=True)
    ]
    found.update({row.dag_id: row.id for row in DagVersion.objects.bulk_create(rows, batch_size=100)})
    return found, created


def _save_tags(specs: Mapping[str, DagSpec]) -> None:
    for ids in _chunks(specs):
        DagTag.objects.filter(dag_id__in=ids).delete()
    tags = [
        DagTag(dag_id=dag_id, name=name)
        for dag_id, spec in specs.items()
        for name in dict.fromkeys(_fit(tag, 100) for tag in spec.tags)
    ]
    DagTag.objects.bulk_create(tags, batch_size=200)


def _save_errors(bundle_name: str, results: Sequence[FileResult], now: datetime) -> None:
    for files in _chunks([result.file for result in results if not result.error]):
        ImportErrorRow.objects.filter(bundle_name=bundle_name, file__in=files).delete()
    errors = {result.file: (result.error, result.traceback) for result in results if result.error}
    _upsert_errors(bundle_name, errors, now)


def _upsert_errors(bundle_name: str, errors: Mapping[str, tuple[str, str]], now: datetime) -> None:
    rows = [
        ImportErrorRow(
            bundle_name=bundle_name,
            file=_fit(file, 1000),
            message=_fit(message),
            traceback=_fit(traceback),
            first_seen_at=now,
            seen_at=now,
        )
        for file, (message, traceback) in errors.items()
    ]
    if rows:
        ImportErrorRow.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["bundle_name", "file"],
            update_fields=["message", "traceback", "seen_at"],
            batch_size=100,
        )


def _fit(text: str, characters: int = 0) -> str:
    """What a column takes: no NUL, and not longer than it is."""
    text = without_nul(text)
    return text[: characters - 1] + "…" if characters and len(text) > characters else text


def _chunks(values: Iterable[T]) -> Iterable[list[T]]:
    listed = list(values)
    return (listed[start : start + _CHUNK] for start in range(0, len(listed), _CHUNK))
