"""git-sync's layout: a symlink to a worktree, swapped when something is pushed. The worker's digest must be the one
that the server gave the same files, else every attempt would seem to run other code than was parsed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.folder import Folder
from execplane.bundles.options import BundleOptions
from execplane.bundles.snapshot import Snapshotter
from execplane.contract.clock import SystemClock
from execplane.worker.bundles import files_for
from execplane.worker.client import Client
from execplane.worker.options import WorkerOptions
from tests.unit.worker.stub_api import claim_answer


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main")
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(["git", *who, *words], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(repository: Path, source: str) -> str:
    (repository / "dags/lib").mkdir(parents=True, exist_ok=True)
    (repository / "dags/dag.py").write_text(source)
    (repository / "dags/lib/shared.py").write_text("X = 1\n")
    (repository / "dags/run.sh").write_text("#!/bin/sh\n")
    (repository / "dags/run.sh").chmod(0o755)
    (repository / "dags/.airflowignore").write_text("notes\n")
    (repository / "README.md").write_text("beside the folder of DAGs\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-m", "change")
    return git(repository, "rev-parse", "HEAD")


def sync(root: Path, repository: Path, revision: str) -> None:
    """What git-sync does: a worktree per revision under the root, then a symlink that is swapped by a rename."""
    if not (root / ".git").exists():
        root.mkdir()
        git(root, "clone", "--no-checkout", str(repository), ".")
    git(root, "fetch", "origin")
    git(root, "worktree", "add", "--detach", f".worktrees/{revision}", revision)
    (root / "tmp-link").symlink_to(f".worktrees/{revision}")
    (root / "tmp-link").rename(root / "current")


def digest_of(folder: Path, blobs: Path) -> str:
    """As the server's parser takes it."""
    store, options = FileBlobStore(FileBlobOptions(folder=blobs)), BundleOptions()
    return Snapshotter(Folder(folder, options), blobs=store, options=options, clock=SystemClock()).take().digest


def worker_finds(folder: Path) -> tuple[Path, str]:
    nobody = Client("http://127.0.0.1:9", lambda: "t", clock=SystemClock(), wait=lambda seconds: True)
    claim = claim_answer(source="volume", dags_folder=str(folder))
    return files_for(claim, nobody, WorkerOptions(), patience_seconds=1)


@pytest.mark.parametrize("below", ["dags", ""], ids=["a folder of it", "the whole repository"])
def test_a_workers_worktree_has_the_digest_of_the_servers_checkout(tmp_path: Path, below: str) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init")
    first = commit(repository, "print('one')\n")
    sync(tmp_path / "in-pod", repository, first)
    # The server has a plain checkout; whose own folder is .git, where a worktree's is a file of that name.
    known = digest_of(repository / below, tmp_path / "blobs")
    folder, found = worker_finds(tmp_path / "in-pod/current" / below)
    assert found == known
    assert folder == tmp_path / "in-pod/.worktrees" / first / below

    second = commit(repository, "print('two')\n")
    sync(tmp_path / "in-pod", repository, second)
    assert (folder / "dags/dag.py" if not below else folder / "dag.py").read_text() == "print('one')\n"
    again, newer = worker_finds(tmp_path / "in-pod/current" / below)
    assert newer == digest_of(repository / below, tmp_path / "blobs") != known
    assert again != folder


def test_the_server_may_read_git_syncs_layout_too(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init")
    revision = commit(repository, "print('one')\n")
    for place in ("on-server", "in-pod"):
        sync(tmp_path / place, repository, revision)
    assert worker_finds(tmp_path / "in-pod/current/dags")[1] == digest_of(
        tmp_path / "on-server/current/dags", tmp_path / "blobs"
    )
