"""`.airflowignore` reads as Airflow and gitignore read it."""

from __future__ import annotations

import pytest

from execplane.bundles.ignore import is_ignored, never_bundled, parse_ignore

# Each row was compared with `git check-ignore`; paths that end with a slash are folders.
GLOBS = [
    ("helpers.py", "helpers.py", True),
    ("helpers.py", "deep/down/helpers.py", True),
    ("helpers.py", "my_helpers.py", False),
    ("helpers.py", "helpers.pyx", False),
    ("/helpers.py", "deep/helpers.py", False),
    ("/helpers.py", "helpers.py", True),
    ("deep/helpers.py", "deep/helpers.py", True),
    ("deep/helpers.py", "a/deep/helpers.py", False),
    ("tests/", "tests/", True),
    ("tests/", "tests", False),
    ("tests/", "a/tests/", True),
    ("*.py", "a/b.py", True),
    ("*_test.py", "a/dag_test.py", True),
    ("a*c", "abc", True),
    ("a/*.py", "a/b/c.py", False),
    ("a/*.py", "a/c.py", True),
    ("**/lib", "lib/", True),
    ("**/lib", "x/y/lib/", True),
    ("a/**/z.py", "a/z.py", True),
    ("a/**/z.py", "a/b/c/z.py", True),
    ("a/**", "a/b/c.py", True),
    ("a/**", "a/", False),
    ("dag_?.py", "dag_1.py", True),
    ("dag_?.py", "dag_10.py", False),
    ("dag_[0-9].py", "dag_7.py", True),
    ("dag_[!0-9].py", "dag_7.py", False),
    ("dag_[!0-9].py", "dag_x.py", True),
    ("[]x].py", "].py", True),
    ("*.py\n!keep.py", "keep.py", False),
    ("!keep.py\n*.py", "keep.py", True),
    ("\\!odd.py", "!odd.py", True),
    ("a.b", "axb", False),
    ("/", "a", False),
    ("# a comment", "a comment", False),
    ("a.py # why", "a.py", True),
    ("", "a", False),
]


@pytest.mark.parametrize(("text", "path", "ignored"), GLOBS)
def test_globs_read_as_gitignore_does(text: str, path: str, ignored: bool) -> None:
    rules = parse_ignore(text).rules
    assert is_ignored(path.rstrip("/"), folder=path.endswith("/"), rules=rules) is ignored


@pytest.mark.parametrize(
    ("text", "path", "ignored"),
    [
        ("helper", "my_helpers/x.py", True),
        (r"^helper", "my_helpers/x.py", False),
        (r"project_a/.*_test\.py$", "project_a/b/x_test.py", True),
        (r"tenant_[\d]", "tenant_1", True),
        (r"tenant_[\d]", "tenant_x", False),
    ],
)
def test_regexps_are_searched_in_the_path_from_the_root(text: str, path: str, ignored: bool) -> None:
    rules = parse_ignore(text, base="deep/", syntax="regexp").rules
    assert is_ignored(path, folder=False, rules=rules) is ignored


def test_lines_hold_only_below_their_own_folder() -> None:
    rules = parse_ignore("/x.py\nsub/y.py", base="a/").rules
    assert is_ignored("a/x.py", folder=False, rules=rules)
    assert is_ignored("a/sub/y.py", folder=False, rules=rules)
    assert not is_ignored("x.py", folder=False, rules=rules)
    assert not is_ignored("sub/y.py", folder=False, rules=rules)


def test_a_header_chooses_the_syntax() -> None:
    rules = parse_ignore("# syntax: regexp\n.*_draft\\.py$").rules
    assert is_ignored("a/b_draft.py", folder=False, rules=rules)
    rules = parse_ignore("#syntax: glob\n*.sql", syntax="regexp").rules
    assert is_ignored("a/b.sql", folder=False, rules=rules)


def test_an_open_bracket_is_named() -> None:
    (problem,) = parse_ignore("[x.py").problems
    assert problem == "Line 1 of .airflowignore is ignored: '[x.py' is not a valid glob (a [ is never closed)."


def test_a_line_that_is_no_regexp_is_named_and_the_others_hold() -> None:
    lines = parse_ignore("ok\n(never closed", base="a/", syntax="regexp")
    assert len(lines.rules) == 1
    (problem,) = lines.problems
    assert problem.startswith("Line 2 of a/.airflowignore is ignored: '(never closed' is not a valid regexp")


@pytest.mark.parametrize("name", [".git", ".env", ".env.local", "__pycache__", "a.pyc", "a.py~", ".a.py.swp"])
def test_secrets_caches_and_version_control_are_never_bundled(name: str) -> None:
    assert never_bundled(name)


@pytest.mark.parametrize("name", ["a.py", "environment.py", ".airflowignore", "env", "git"])
def test_other_files_are_bundled(name: str) -> None:
    assert not never_bundled(name)
