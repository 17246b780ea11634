"""A loader that needs no sdk: a DAG file is one with a list DAGS of ids. Loaded in the parser's process."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping

from execplane.contract.dag import DagSpec, ParamSpec, ParsedFile


def load(path: str, root: str, variables: Mapping[str, str]) -> ParsedFile:
    sys.path.insert(0, root)
    file = os.path.relpath(path, root)
    asked: list[str] = []

    def variable(key: str) -> str | None:
        asked.append(key)
        return variables.get(key)

    names = runpy.run_path(path, {"variable": variable})
    dags = tuple(
        DagSpec(dag_id=dag_id, file=file, params={"p": ParamSpec(default=names.get("PARAM"))})
        for dag_id in names.get("DAGS", ())
    )
    return ParsedFile(
        file=file, dags=dags, warnings=tuple(names.get("WARNINGS", ())), is_dag_file=bool(dags), variables=tuple(asked)
    )


def swallow(path: str, root: str, variables: Mapping[str, str]) -> ParsedFile:
    """A loader that catches everything itself, as the sdk's does."""
    import traceback

    try:
        return load(path, root, variables)
    except BaseException as error:
        return ParsedFile(file="", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
