"""Imports one DAG file, in the process that asks for it. Limits on time and memory are the caller's (a child process).

Used by the parser's child, which serialises what it finds, and by the worker, which runs a task of it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import os
import re
import sys
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from execplane.contract.dag import DagSpec, ParsedFile
from execplane.contract.errors import DagImportError, ExecplaneError, NotFound
from execplane.sdk import airflow, masking, scope, services, tracebacks
from execplane.sdk.dags import DAG
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise

_MENTIONS_DAG = re.compile(rb"dag", re.IGNORECASE)
_MENTIONS_US = re.compile(rb"airflow|execplane", re.IGNORECASE)


@dataclass(kw_only=True)
class LoadedFile:
    """What importing a DAG file gave. `error` is "" when it went well; else one sentence, with what to do."""

    file: str
    """Path inside the bundle, with forward slashes."""
    dags: dict[str, DAG] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    line: int = 0
    warnings: tuple[str, ...] = ()
    is_dag_file: bool = True

    def dag(self, dag_id: str) -> DAG:
        """The DAG of this id. Raises DagImportError when the file is broken, NotFound when it has no such DAG."""
        if self.error:
            raise DagImportError(f"{self.file} cannot be imported: {self.error}")
        try:
            return self.dags[dag_id]
        except KeyError:
            known = ", ".join(sorted(self.dags)) or "none"
            raise NotFound(f"{self.file} has no DAG {dag_id!r} any more.", hint=f"It has: {known}.") from None


def might_contain_dags(source: bytes) -> bool:
    """Airflow's safe mode: a file that mentions neither a dag nor airflow (or execplane) is not imported at all."""
    return bool(_MENTIONS_DAG.search(source)) and bool(_MENTIONS_US.search(source))


def module_name(relative: str) -> str:
    """The module's name for a file of the bundle: the same in the parser and in every worker, because dataclasses in
    XComs are found by it."""
    digest = hashlib.sha256(relative.encode()).hexdigest()[:10]
    return f"execplane_dag_{digest}_{re.sub(r'[^0-9A-Za-z_]', '_', Path(relative).stem)}"


def load_file(path: str | Path, bundle_root: str | Path, *, shim: bool = True) -> LoadedFile:
    """Import the DAG file and collect its DAGs; never raises for what the file does (but lets KeyboardInterrupt go).

    Puts `bundle_root` on sys.path, for the files' own modules, and with `shim` Airflow's import paths.
    """
    file, root = os.path.abspath(path), os.path.abspath(bundle_root)
    relative = os.path.relpath(file, root).replace(os.sep, "/")
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        return LoadedFile(file=relative, error=f"The file cannot be read: {error.strerror}.")
    if not might_contain_dags(source):
        return LoadedFile(file=relative, is_dag_file=False)
    if root not in sys.path:
        sys.path.insert(0, root)
    if shim:
        airflow.install()
    return _import(file, relative, source)


def _import(file: str, relative: str, source: bytes) -> LoadedFile:
    scope.open_dags.clear()
    scope.open_groups.clear()
    scope.registered.clear()
    scope.warnings.clear()
    scope.current_file = file
    name = module_name(relative)
    try:
        code = compile(source, file, "exec", dont_inherit=True)
        module = types.ModuleType(name)
        module.__file__ = file
        module.__spec__ = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = module
        exec(code, module.__dict__)  # noqa: S102  importing the author's file is this module's purpose
        dags = _collect(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        sys.modules.pop(name, None)
        return _broken(relative, file, error)
    finally:
        scope.current_file = ""
    return LoadedFile(file=relative, dags=dags, warnings=_masked_warnings())


def _collect(module: types.ModuleType) -> dict[str, DAG]:
    """The DAGs that module-level names hold, and those that registered themselves. Raises DagImportError for an id
    that two of them have."""
    found: dict[str, DAG] = {}
    for dag in [*(value for value in module.__dict__.values() if isinstance(value, DAG)), *scope.registered]:
        other = found.setdefault(dag.dag_id, dag)
        if other is not dag:
            raise DagImportError(
                f"{scope.place(dag.file, dag.line)}: the dag_id {dag.dag_id!r} is used twice in this file "
                f"(first at line {other.line}).",
                hint="Rename one of the two.",
            )
    return found


def _broken(relative: str, file: str, error: BaseException) -> LoadedFile:
    line = tracebacks.author_line(error, file)
    if isinstance(error, SyntaxError):
        where = os.path.basename(error.filename or relative)
        line = error.lineno or 0
        message = f"{where}, line {line}: syntax error: {error.msg}."
    elif isinstance(error, SystemExit):
        message = (
            f"{os.path.basename(relative)}, line {line}: the file calls sys.exit({error.code!r}) while it is imported."
        )
        message += " Remove the call, or put it under if __name__ == '__main__'."
    elif isinstance(error, ExecplaneError):
        message = str(error)
        if "line" not in message:
            message = f"{os.path.basename(relative)}, line {line}: {message}"
    elif isinstance(error, ModuleNotFoundError):
        message = f"{os.path.basename(relative)}, line {line}: there is no module {error.name!r} here."
        message += " Install it where DAG files are parsed and run, or put it into the DAGs folder."
    else:
        text = str(error).strip().splitlines()
        message = f"{os.path.basename(relative)}, line {line}: {type(error).__name__}: {text[0] if text else ''}"
    return LoadedFile(
        file=relative,
        error=masking.mask(message),
        traceback=masking.mask(tracebacks.trimmed(error)),
        line=line,
        warnings=_masked_warnings(),
    )


def _masked_warnings() -> tuple[str, ...]:
    return tuple(masking.mask(warning) for warning in scope.warnings)


def _variables_of(outside: services.ImportServices, path: Path) -> tuple[str, ...]:
    """What the file asked for. One that lacked something may have ended there: then also what it names further down,
    so that it need not be imported once for each."""
    asked = set(outside.asked)
    if outside.lacked:
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            asked |= literal_names(ast.parse(path.read_bytes()))
    return tuple(sorted(asked))


def literal_names(tree: ast.AST) -> set[str]:
    """The names in `Variable.get("…")` that an import of this code comes by: not those in tasks' functions."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not any(
            "dag" in ast.unparse(decorator).lower() for decorator in node.decorator_list
        ):
            continue
        match node:
            case ast.Call(func=ast.Attribute(attr="get") as called, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(called).endswith("Variable.get"):
                    found.add(name)
        waiting += ast.iter_child_nodes(node)
    return found


def parse_file(
    path: str | Path,
    bundle_root: str | Path,
    variables: Mapping[str, str] | None = None,
    *,
    defaults: Defaults | None = None,
    shim: bool = True,
) -> ParsedFile:
    """Import and serialise: what the parser's child answers. One broken DAG makes the file an error, as its other
    DAGs would otherwise run on as if nothing were wrong. `variables` are the stored ones that the file may read."""
    began = time.perf_counter()
    outside = services.ImportServices(variables or {})
    with services.use(outside):
        loaded = load_file(path, bundle_root, shim=shim)
    specs: list[DagSpec] = []
    error, traceback = loaded.error, loaded.traceback
    if not error:
        try:
            specs = [
                serialise(dag, bundle_root=str(bundle_root), defaults=defaults)
                for _, dag in sorted(loaded.dags.items())
            ]
        except Exception as failure:
            broken = _broken(loaded.file, os.path.abspath(path), failure)
            specs, error, traceback = [], broken.error, broken.traceback
    return ParsedFile(
        file=loaded.file,
        dags=tuple(specs),
        error=error,
        traceback=traceback,
        warnings=loaded.warnings,
        duration_seconds=time.perf_counter() - began,
        is_dag_file=loaded.is_dag_file,
        variables=_variables_of(outside, Path(path)),
    )
