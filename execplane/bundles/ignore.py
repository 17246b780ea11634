"""`.airflowignore`: which files and folders of a DAG folder are left alone.

Two syntaxes, as in Airflow: gitignore's globs (the last matching line wins, `!` takes back) and regular expressions
(searched in the path from the DAG folder's root). A file's lines hold for its folder and all below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

IGNORE_FILE = ".airflowignore"
_COMMENT = re.compile(r"\s*(?<!\\)#.*")
_HEADER = re.compile(r"#\s*syntax:\s*(glob|regexp)\s*")
_NEVER_NAMES = frozenset({".git", ".hg", ".svn", ".env", "__pycache__", ".venv", "node_modules"})
_NEVER_ENDS = (".pyc", ".pyo", ".swp", "~")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line. `base` is the folder of its file: "" or "a/b/"."""

    pattern: re.Pattern[str]
    base: str = ""
    negated: bool = False
    folders_only: bool = False
    name_only: bool = False
    """The pattern is compared with the last part of the path only."""


@dataclass(frozen=True, kw_only=True)
class IgnoreLines:
    """A parsed .airflowignore; `problems` are sentences about lines that mean nothing."""

    rules: tuple[Rule, ...]
    problems: tuple[str, ...] = ()


def never_bundled(name: str) -> bool:
    """True for what no bundle holds, whatever .airflowignore says: version control, secrets, caches."""
    return name in _NEVER_NAMES or name.startswith(".env.") or name.endswith(_NEVER_ENDS)


def parse_ignore(text: str, *, base: str = "", syntax: str = "glob") -> IgnoreLines:
    """The rules of one file that lies in the folder `base` ("" or "a/b/")."""
    lines = text.splitlines()
    if lines and (header := _HEADER.fullmatch(lines[0].strip())):
        syntax = header[1]
    rules, problems = [], []
    for number, line in enumerate(lines, start=1):
        pattern = _COMMENT.sub("", line)
        if not pattern.strip():
            continue
        try:
            rule = _regexp_rule(pattern) if syntax == "regexp" else _glob_rule(pattern.rstrip(), base)
        except re.error as error:
            problems.append(
                f"Line {number} of {base}{IGNORE_FILE} is ignored: {pattern.strip()!r} is not a valid {syntax} "
                f"({error})."
            )
            continue
        if rule is not None:
            rules.append(rule)
    return IgnoreLines(rules=tuple(dict.fromkeys(rules)), problems=tuple(problems))


def is_ignored(path: str, *, folder: bool, rules: Sequence[Rule]) -> bool:
    """Whether `path` (from the root, forward slashes) is hidden; a folder hides all below it."""
    name = path.rpartition("/")[2]
    # The last matching line wins, so the first one found from the end decides.
    return next((not rule.negated for rule in reversed(rules) if _matches(rule, path, name, folder)), False)


def names_of(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The patterns, for messages and tests."""
    return tuple(rule.pattern.pattern for rule in rules)


def _matches(rule: Rule, path: str, name: str, folder: bool) -> bool:
    if rule.folders_only and not folder:
        return False
    if rule.name_only:
        return rule.pattern.fullmatch(name) is not None
    if rule.base:
        return path.startswith(rule.base) and rule.pattern.fullmatch(path, len(rule.base)) is not None
    return rule.pattern.search(path) is not None


def _regexp_rule(pattern: str) -> Rule:
    return Rule(pattern=re.compile(pattern))


def _glob_rule(line: str, base: str) -> Rule | None:
    negated = line.startswith("!")
    glob = line[1:] if negated else line
    if glob.startswith(("\\!", "\\#")):
        glob = glob[1:]
    folders_only = glob.endswith("/")
    anchored = "/" in glob.rstrip("/")
    glob = glob.strip("/")
    if not glob:
        return None
    expression = _translate(glob)
    if anchored and not base:
        expression = rf"\A{expression}\Z"
    return Rule(
        pattern=re.compile(expression),
        base=base if anchored else "",
        negated=negated,
        folders_only=folders_only,
        name_only=not anchored,
    )


def _translate(glob: str) -> str:
    """A gitignore glob as a regular expression over a path with forward slashes."""
    parts = glob.split("/")
    out = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            # A leading or middle `**` is any number of folders, a trailing one everything below.
            out.append(".+" if last else "(?:[^/]+/)*")
        else:
            out.append(_translate_part(part) + ("" if last else "/"))
    return "".join(out)


def _translate_part(part: str) -> str:
    out, index = [], 0
    while index < len(part):
        char = part[index]
        index += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\" and index < len(part):
            out.append(re.escape(part[index]))
            index += 1
        elif char == "[":
            end = _class_end(part, index)
            out.append(_translate_class(part[index:end]))
            index = end + 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _class_end(part: str, start: int) -> int:
    """Where the bracket that opened before `start` closes. gitignore lets an open one match nothing; we say so."""
    # A `]` that comes first, or right after the negation, belongs to the class.
    after_negation = start + 1 if part[start : start + 1] in ("!", "^") else start
    end = part.find("]", after_negation + 1)
    if end < 0:
        raise re.error("a [ is never closed")
    return end


def _translate_class(body: str) -> str:
    negated = body[0] in "!^"
    inner = re.sub(r"([\\\[\]&~|^])", r"\\\1", body[1:] if negated else body)
    return f"(?!/)[{'^' if negated else ''}{inner}]"
