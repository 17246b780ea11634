"""A walk through a DAG folder sees what is there, and only what belongs in a bundle."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from execplane.bundles.folder import Folder
from execplane.bundles.options import BundleOptions
from execplane.contract.errors import InvalidInput, NotFound


def scan_paths(folder: Path, **options: object) -> set[str]:
    return set(Folder(folder, BundleOptions(**options)).scan().files)  # type: ignore[arg-type]


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def test_everything_is_listed_but_caches_secrets_and_version_control(folder: Path) -> None:
    write(folder, "a.py", "sub/b.py", "sub/c.sql", ".git/config", ".env", "sub/__pycache__/b.pyc", "x.py~")
    assert scan_paths(folder) == {"a.py", "sub/b.py", "sub/c.sql"}


def test_what_airflowignore_names_is_left_out_and_known_as_hidden(folder: Path) -> None:
    write(folder, "a.py", "lib/b.py", "sub/c.py", "sub/d.py")
    (folder / ".airflowignore").write_text("lib/\n")
    (folder / "sub/.airflowignore").write_text("d.py\n")
    listing = Folder(folder, BundleOptions()).scan()
    assert set(listing.files) == {"a.py", "sub/c.py", ".airflowignore", "sub/.airflowignore"}
    assert listing.hidden == {"lib/", "sub/d.py"}
    assert listing.is_hidden("lib/b.py")
    assert listing.is_hidden("sub/d.py")
    assert not listing.is_hidden("sub/c.py")


def test_ignored_files_can_be_kept_in_the_bundle_and_stay_hidden_from_parsing(folder: Path) -> None:
    write(folder, "a.py", "lib/deep/b.py")
    (folder / ".airflowignore").write_text("lib/\n")
    listing = Folder(folder, BundleOptions(keep_ignored=True)).scan()
    assert set(listing.files) == {"a.py", "lib/deep/b.py", ".airflowignore"}
    assert listing.is_hidden("lib/deep/b.py")


def test_an_edited_airflowignore_holds_at_the_next_look(folder: Path) -> None:
    write(folder, "a.py", "b.py")
    watched = Folder(folder, BundleOptions())
    (folder / ".airflowignore").write_text("a.py\n")
    assert set(watched.scan().files) == {"b.py", ".airflowignore"}
    (folder / ".airflowignore").write_text("b.py \n")
    assert set(watched.scan().files) == {"a.py", ".airflowignore"}


def test_a_line_that_means_nothing_is_a_problem_of_that_file(folder: Path) -> None:
    (folder / ".airflowignore").write_text("(open\n")
    watched = Folder(folder, BundleOptions(ignore_syntax="regexp"))
    for _ in range(2):
        assert "Line 1 of .airflowignore" in watched.scan().problems[".airflowignore"]


def test_two_looks_are_equal_until_something_changes(folder: Path) -> None:
    write(folder, "a.py")
    watched = Folder(folder, BundleOptions())
    first = watched.scan()
    assert watched.scan() == first
    (folder / "a.py").chmod(0o755)
    assert watched.scan() != first


def test_a_new_file_with_an_old_time_is_a_change(folder: Path) -> None:
    write(folder, "a.py")
    watched = Folder(folder, BundleOptions())
    os.utime(folder / "a.py", (1000, 1000))
    first = watched.scan()
    (folder / "new").write_text("a.p!")
    os.utime(folder / "new", (1000, 1000))
    os.rename(folder / "new", folder / "a.py")
    assert watched.scan() != first


def test_a_swapped_symlink_is_a_change_of_root(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, f"{name}/a.py")
    link = tmp_path / "current"
    link.symlink_to("one")
    watched = Folder(link, BundleOptions())
    first = watched.scan()
    (tmp_path / "next").symlink_to("two")
    os.rename(tmp_path / "next", link)
    assert watched.scan().root != first.root


def test_links_are_followed_but_not_in_circles(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/x.py")
    write(folder, "a/b.py")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "a/loop").symlink_to(folder / "a")
    (folder / "broken").symlink_to("nowhere")
    listing = Folder(folder, BundleOptions()).scan()
    assert set(listing.files) == {"a/b.py", "linked/x.py"}
    assert list(listing.problems) == ["a/loop"]


def test_a_pipe_or_socket_is_never_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.py")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "socket.py"))
        assert scan_paths(folder) == set()


def test_a_name_that_is_not_utf8_is_a_problem_and_hurts_no_other_file(folder: Path) -> None:
    write(folder, "a.py")
    with open(os.fsencode(folder) + b"/bad\xff.py", "w") as file:
        file.write("x")
    listing = Folder(folder, BundleOptions()).scan()
    assert set(listing.files) == {"a.py"}
    assert "is not UTF-8; rename it" in next(iter(listing.problems.values()))


def test_a_missing_folder_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        Folder(tmp_path / "nowhere", BundleOptions()).scan()


@pytest.mark.parametrize(
    ("options", "words"),
    [(BundleOptions(max_files=2), "more than 2 files"), (BundleOptions(max_bytes=1 << 20), "more than 1 MiB")],
)
def test_a_folder_above_a_limit_is_refused_by_name(folder: Path, options: BundleOptions, words: str) -> None:
    for name in "abc":
        (folder / name).write_bytes(b"x" * 400_000)
    with pytest.raises(InvalidInput, match=words) as caught:
        Folder(folder, options).scan()
    assert str(folder) in caught.value.message
