"""Looking at a DAG folder without reading it: one walk that costs a stat per file.

The walk runs every second or two for as long as execplane does, so it allocates little and opens nothing but
changed .airflowignore files.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from execplane.bundles.ignore import IGNORE_FILE, IgnoreLines, Rule, is_ignored, never_bundled, parse_ignore
from execplane.bundles.options import BundleOptions
from execplane.contract.errors import InvalidInput, NotFound, storage_error

StatKey = tuple[int, int, int, int, bool]
"""(mtime_ns, ctime_ns, size, inode, executable): when it is the same, so is the file. The ctime catches an rsync
that sets an old mtime."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A folder at one moment. Two listings are equal when nothing changed between them."""

    root: str
    """Symlinks resolved: git-sync swaps a symlink, and then this differs."""
    files: dict[str, StatKey]
    hidden: frozenset[str] = frozenset()
    """Paths that .airflowignore hides; hidden folders end with a slash, and of them no file is listed unless
    ignored files are kept."""
    problems: dict[str, str] = field(default_factory=dict)
    """Path -> what is wrong with it, one sentence."""

    def is_hidden(self, path: str) -> bool:
        if not self.hidden:
            return False
        if path in self.hidden:
            return True
        parts = path.split("/")
        return any("/".join(parts[:end]) + "/" in self.hidden for end in range(1, len(parts)))


class Folder:
    """One DAG folder, looked at again and again."""

    def __init__(self, path: Path, options: BundleOptions) -> None:
        self.path = path
        self._options = options
        self._ignores: dict[str, tuple[StatKey, IgnoreLines]] = {}

    def scan(self) -> Listing:
        """What is there now. Raises NotFound (no such folder), InvalidInput (too much in it), Unavailable."""
        try:
            root = os.path.realpath(self.path, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            raise self._absent() from None
        except OSError as error:
            raise storage_error("Resolving the DAG folder", self.path, error) from error
        walk = _Walk(root, self._options, self._ignores)
        try:
            walk.enter("", (), hidden=False, ancestors=())
        except OSError as error:
            raise storage_error("Looking through the DAG folder", self.path, error) from error
        if not walk.found_root:
            raise self._absent()
        self._ignores = walk.ignores
        return Listing(root=root, files=walk.files, hidden=frozenset(walk.hidden), problems=walk.problems)

    def _absent(self) -> NotFound:
        return NotFound(
            f"The DAG folder {self.path} does not exist.",
            hint="Make it, or name another with EXECPLANE_DAGS_FOLDERS.",
        )


class _Walk:
    """One pass over a folder, and what it found."""

    def __init__(self, root: str, options: BundleOptions, ignores: dict[str, tuple[StatKey, IgnoreLines]]) -> None:
        self._root = root
        self._options = options
        self._known_ignores = ignores
        self._bytes = 0
        self.ignores: dict[str, tuple[StatKey, IgnoreLines]] = {}
        self.files: dict[str, StatKey] = {}
        self.hidden: list[str] = []
        self.problems: dict[str, str] = {}
        self.found_root = False

    def enter(
        self, base: str, rules: tuple[Rule, ...], *, hidden: bool, ancestors: tuple[tuple[int, int], ...]
    ) -> None:
        """List the folder `base` ("" or "a/b/") and those below it."""
        try:
            with os.scandir(f"{self._root}/{base}") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return  # Removed since its parent was listed; a snapshot's second look finds out.
        except PermissionError:
            self.problems[base or "."] = f"The folder {base or self._root} cannot be read: permission is denied."
            self.found_root = True
            return
        self.found_root = True
        rules = self._add_rules(base, rules, found)
        for entry in found:
            if not never_bundled(entry.name):
                self._look_at(entry, base + entry.name, rules, hidden, ancestors)

    def _look_at(
        self,
        entry: os.DirEntry[str],
        path: str,
        rules: tuple[Rule, ...],
        hidden: bool,
        ancestors: tuple[tuple[int, int], ...],
    ) -> None:
        if not _is_text(path):
            self.problems[ascii(path)] = f"The file name {path!a} is not UTF-8; rename it."
            return
        try:
            status = entry.stat()
        except OSError:
            return  # A broken symlink, or removed just now.
        is_folder = stat.S_ISDIR(status.st_mode)
        if not is_folder and not stat.S_ISREG(status.st_mode):
            return
        if rules and not hidden and is_ignored(path, folder=is_folder, rules=rules):
            self.hidden.append(path + "/" if is_folder else path)
            hidden = True
        if hidden and not self._options.keep_ignored:
            return
        if is_folder:
            self._descend(path, status, rules, hidden, ancestors)
        else:
            self._add(path, status)

    def _descend(
        self,
        path: str,
        status: os.stat_result,
        rules: tuple[Rule, ...],
        hidden: bool,
        ancestors: tuple[tuple[int, int], ...],
    ) -> None:
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            self.problems[path] = f"The folder {path} is a symlink to a folder that it lies in; it is left out."
            return
        self.enter(path + "/", rules, hidden=hidden, ancestors=(*ancestors, identity))

    def _add(self, path: str, status: os.stat_result) -> None:
        self.files[path] = _stat_key(status)
        self._bytes += status.st_size
        limits = self._options
        if len(self.files) > limits.max_files:
            raise InvalidInput(
                f"The DAG folder {self._root} holds more than {limits.max_files} files.",
                hint=f"Hide what tasks do not need with {IGNORE_FILE}, or raise the limit of bundle files.",
            )
        if self._bytes > limits.max_bytes:
            raise InvalidInput(
                f"The DAG folder {self._root} holds more than {limits.max_bytes >> 20} MiB.",
                hint=f"Hide what tasks do not need with {IGNORE_FILE}, or raise the limit of bundle bytes.",
            )

    def _add_rules(self, base: str, rules: tuple[Rule, ...], entries: list[os.DirEntry[str]]) -> tuple[Rule, ...]:
        if not any(entry.name == IGNORE_FILE for entry in entries):
            return rules
        path = f"{self._root}/{base}{IGNORE_FILE}"
        try:
            key = _stat_key(os.stat(path))
            known = self._known_ignores.get(path)
            if known is None or known[0] != key:
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines = parse_ignore(file.read(), base=base, syntax=self._options.ignore_syntax)
                known = (key, lines)
        except OSError as error:
            self.problems[base + IGNORE_FILE] = f"{base}{IGNORE_FILE} cannot be read: {error.strerror}."
            return rules
        self.ignores[path] = known
        if known[1].problems:
            self.problems[base + IGNORE_FILE] = " ".join(known[1].problems)
        return rules + known[1].rules


def _stat_key(status: os.stat_result) -> StatKey:
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        bool(status.st_mode & stat.S_IXUSR),
    )


def _is_text(path: str) -> bool:
    # os.scandir gives names that are not UTF-8 with surrogates; they fit in no JSON.
    return path.isascii() or not any("\ud800" <= char <= "\udfff" for char in path)
