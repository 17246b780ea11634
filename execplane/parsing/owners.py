"""Which file defines a DAG, where several claim its dag_id. Pure.

The file that has been known as its owner keeps it as long as it defines it; a new dag_id goes to the first file in
order. The others get an import error that names both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from execplane.parsing.plan import FileRef


class Claims:
    """Who claims which dag_id, and who held it before this process began to look."""

    def __init__(self, established: Mapping[str, FileRef], order: Mapping[str, int]) -> None:
        """`order` is the bundles' place in the settings."""
        self._established = dict(established)
        self._order = dict(order)
        self._claims: dict[str, set[FileRef]] = {}
        self._made: dict[FileRef, frozenset[str]] = {}
        self._unseen: set[FileRef] = set(established.values())

    def set(self, file: FileRef, dag_ids: Iterable[str]) -> None:
        """The file now defines these."""
        new = frozenset(dag_ids)
        for dag_id in self._made.get(file, frozenset()) - new:
            self._claims[dag_id].discard(file)
        for dag_id in new:
            self._claims.setdefault(dag_id, set()).add(file)
        self._made[file] = new
        self._unseen.discard(file)

    def keep(self, file: FileRef) -> None:
        """The file could not be imported: what it defined before stays its own."""
        if file not in self._made:
            self._made[file] = frozenset(dag_id for dag_id, owner in self._established.items() if owner == file)
            for dag_id in self._made[file]:
                self._claims.setdefault(dag_id, set()).add(file)
        self._unseen.discard(file)

    def drop(self, file: FileRef) -> None:
        """The file is gone."""
        self.set(file, ())
        self._made.pop(file, None)

    def of(self, file: FileRef) -> frozenset[str]:
        return self._made.get(file, frozenset())

    def owner(self, dag_id: str) -> FileRef | None:
        """Who defines the DAG. An earlier owner that has not been imported yet is taken to define it still."""
        claims = self._claims.get(dag_id, set())
        before = self._established.get(dag_id)
        if before is not None and (before in claims or before in self._unseen):
            return before
        return min(claims, key=self._place, default=None)

    def settle(self) -> None:
        """The present owners are the ones to keep from now on."""
        owners = {dag_id: self.owner(dag_id) for dag_id in self._claims}
        self._established = {dag_id: owner for dag_id, owner in owners.items() if owner is not None}
        self._unseen.clear()

    def rivals(self, dag_ids: Iterable[str]) -> frozenset[FileRef]:
        """Every file that claims one of these."""
        return frozenset(file for dag_id in dag_ids for file in self._claims.get(dag_id, ()))

    def _place(self, file: FileRef) -> tuple[int, str]:
        return self._order.get(file.bundle, len(self._order)), file.file


def duplicate_error(file: FileRef, dag_ids: Iterable[str], owners: Mapping[str, FileRef]) -> str:
    """What to tell the author of a file whose DAGs are defined elsewhere."""
    parts = [
        f"The DAG {dag_id!r} is already defined in {_full(owners[dag_id])}, so the one in {_full(file)} is left out."
        for dag_id in sorted(dag_ids)
    ]
    return " ".join([*parts, "Rename one of them."])


def _full(file: FileRef) -> str:
    return f"{file.file} ({file.bundle})"
