"""The loop that keeps DAGs as their files say: look, import, save, a bounded step at a time.

What was found and not yet saved is kept until the database takes it, so an outage loses nothing and imports nothing
twice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from execplane import metrics
from execplane.bundles.options import BundleOptions
from execplane.bundles.places import BundlePlaces
from execplane.contract.blobs import BlobStore
from execplane.contract.clock import Clock
from execplane.contract.dag import ParsedFile
from execplane.contract.errors import Unavailable
from execplane.contract.loops import NOW, Next, at
from execplane.parsing.options import ParsingOptions
from execplane.parsing.parsers import Parsers, parser_environment
from execplane.parsing.passes import BundleUpdate, FileUpdate, NamedFolder, ParsePass
from execplane.parsing.plan import FileRef
from execplane.store import dag_versions, secrets
from execplane.store.database import is_outage
from execplane.store.secrets import SecretBox

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.25
"""How long one tick waits for imports: short, so that a stop and the lease are never far."""
_PRUNE_EVERY = timedelta(hours=1)
_PRUNE_UNUSED_FOR = timedelta(hours=2)

Save = Callable[[datetime], None]


class ParseLoop:
    """A `contract.loops.Loop`; one process at a time runs it."""

    name = "parsing"
    topics = frozenset({"refresh"})
    leased = True

    def __init__(
        self,
        folders: Sequence[NamedFolder],
        *,
        options: ParsingOptions,
        bundle_options: BundleOptions,
        blobs: BlobStore,
        places: BundlePlaces,
        clock: Clock,
        environ: Mapping[str, str],
        secrets: SecretBox,
    ) -> None:
        self._variables = _Variables(secrets, clock)
        self.poll_seconds = options.poll_seconds
        self._folders = tuple(folders)
        self._options = options
        self._bundle_options = bundle_options
        self._blobs = blobs
        self._places = places
        self._clock = clock
        self._environment = parser_environment(environ, options.environment)
        self._pass: ParsePass | None = None
        self._unsaved: deque[Save] = deque()
        self._next_look: datetime | None = None
        self._next_prune: datetime | None = None
        self._first = True

    def tick(self, now: datetime) -> Next:
        """Look when it is time (or when woken before that: somebody changed something), and save what came."""
        parsing = self._pass or self._begin()
        self._save(now)
        woken = self._next_look is not None and now < self._next_look and not parsing.pending
        if self._next_look is None or woken or now >= self._next_look:
            self._look(parsing, now, woken=woken)
        collected = parsing.collect(_STEP_SECONDS)
        _measure(collected)
        for update in _by_bundle(collected):
            self._unsaved.append(self._saving_files(update))
        self._save(now)
        if parsing.pending:
            return NOW
        self._first = False
        self._prune(now)
        idle_in = parsing.stop_when_idle()
        moments = [self._next_look or now]
        if idle_in is not None:
            moments.append(now + timedelta(seconds=idle_in))
        return at(min(moments))

    def close(self) -> None:
        """Stop the parser. A later tick begins anew, from what is stored: another process may have been at it."""
        if self._pass is not None:
            self._pass.close()
        self._pass, self._next_look, self._first = None, None, True
        self._unsaved.clear()

    @property
    def busy(self) -> bool:
        """Whether files are being imported, or the first look has not ended: for `status` and for tests."""
        return self._first or bool(self._unsaved) or (self._pass is not None and self._pass.pending > 0)

    def _begin(self) -> ParsePass:
        dag_versions.retire_other_bundles([folder.name for folder in self._folders])
        owners = {dag_id: FileRef(*owner) for dag_id, owner in dag_versions.known_owners().items()}
        self._pass = ParsePass(
            self._folders,
            options=self._options,
            bundle_options=self._bundle_options,
            blobs=self._blobs,
            places=self._places,
            parsers=Parsers(self._options.limits, clock=self._clock, environment=self._environment),
            clock=self._clock,
            established=owners,
            variables=self._variables,
        )
        return self._pass

    def _look(self, parsing: ParsePass, now: datetime, *, woken: bool) -> None:
        asked = [FileRef(*file) for file in dag_versions.asked_again()] if woken else []
        updates, again_in = parsing.look(at_once=woken, force=asked, retry_failed=bool(asked))
        for update in updates:
            self._unsaved.append(_saving_bundle(update))
        seconds = self.poll_seconds if again_in is None else min(again_in, self.poll_seconds)
        self._next_look = now + timedelta(seconds=seconds)

    def _save(self, now: datetime) -> None:
        while self._unsaved:
            self._unsaved[0](now)
            self._unsaved.popleft()

    def _saving_files(self, updates: Sequence[FileUpdate]) -> Save:
        def save(now: datetime) -> None:
            try:
                self._save_files(updates, now)
            except Unavailable:
                raise
            except Exception:
                # One file's odd value must not keep the others from being saved.
                log.exception("cannot save %s", ", ".join(str(update.file) for update in updates))
                for update in updates:
                    self._save_alone(update, now)

        return save

    def _save_alone(self, update: FileUpdate, now: datetime) -> None:
        try:
            self._save_files([update], now)
        except Unavailable:
            raise
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            message = f"{update.file.file} was imported, and what it defines cannot be stored: {said}."
            parsed = ParsedFile(file=update.file.file, error=message)
            self._save_files([replace(update, parsed=parsed, defines=False)], now)

    def _save_files(self, updates: Sequence[FileUpdate], now: datetime) -> None:
        first = updates[0]
        saved = dag_versions.save_files(
            first.file.bundle,
            first.digest,
            [_result(update) for update in updates],
            paused_at_creation=self._options.paused_at_creation,
            now=now,
        )
        for dag_id in saved.new_versions:
            log.info("DAG %s has a new version", dag_id)
        for dag_id in saved.retired:
            log.info("DAG %s is no longer defined", dag_id)

    def _prune(self, now: datetime) -> None:
        if self._next_prune is not None and now < self._next_prune:
            return
        self._next_prune = now + _PRUNE_EVERY
        assert self._pass is not None
        keep = dag_versions.bundles_in_use() | set(self._pass.digests.values())
        deleted = self._places.prune(keep, now=now, unused_for=_PRUNE_UNUSED_FOR)
        if deleted:
            log.info("%d bundle folders and archives that no run needs were deleted", len(deleted))


class _Variables:
    """Fulfils `variables.StoredVariables`."""

    def __init__(self, box: SecretBox, clock: Clock) -> None:
        self._box = box
        self._clock = clock

    def stamps(self, names: Collection[str]) -> Mapping[str, str]:
        with _outages():
            return secrets.variable_stamps(names)

    def values(self, names: Collection[str], file: str) -> Mapping[str, str]:
        with _outages():
            return secrets.variables_for_file(self._box, names, file, now=self._clock.now())


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_outage(error) or isinstance(error, Unavailable):
            raise
        raise Unavailable("The database does not answer.", hint="Files are imported once it does.") from error


def _saving_bundle(update: BundleUpdate) -> Save:
    def save(now: datetime) -> None:
        dag_versions.save_bundle(
            dag_versions.BundleState(
                name=update.name,
                digest=update.digest,
                size_bytes=update.size_bytes,
                files=update.files,
                settled=update.settled,
                present=update.present,
                problems=update.problems,
            ),
            now=now,
        )

    return save


def _result(update: FileUpdate) -> dag_versions.FileResult:
    return dag_versions.FileResult(
        file=update.file.file,
        dags=update.parsed.dags,
        error=update.parsed.error,
        traceback=update.parsed.traceback,
        source=update.source,
        defines=update.defines,
    )


def _measure(updates: Sequence[FileUpdate]) -> None:
    for update in updates:
        if update.parsed.duration_seconds:  # none: it was not imported now, but lost a DAG to another file
            metrics.current().observe(
                "execplane_parse_seconds",
                update.parsed.duration_seconds,
                outcome="error" if update.parsed.error else "ok",
                file=update.file.file,
            )


def _by_bundle(updates: Sequence[FileUpdate]) -> list[list[FileUpdate]]:
    """Batches of one bundle digest each. The order stays: where two files claim a DAG, the owner comes last."""
    groups = groupby(updates, key=lambda update: (update.file.bundle, update.digest))
    return [list(group) for _, group in groups]
