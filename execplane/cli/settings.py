"""`execplane config …`: every setting with its value and where that comes from. Secrets never print."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, remark, show_one, show_rows

app = typer.Typer(help="Settings: list, explain, make keys.", no_args_is_help=True)

HIDDEN = "••••"


@app.command("list")
def list_settings(
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are set.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Every setting, its value and its source. Example: execplane config list --changed"""
    rows = [row for row in _rows() if not changed or row["source"] != "default"]
    show_rows(rows, output, ("setting", "value", "source"), empty="Nothing is set: every setting has its default.")


@app.command()
def explain(
    setting: Annotated[str, typer.Argument(metavar="SETTING", help="kubernetes.namespace or its environment name.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """What a setting means, takes and is. Works when the settings do not. Example: execplane config explain executor"""
    from execplane.config import PREFIX, environment_name, keys, settings_file
    from execplane.contract.errors import ConfigError, NotFound

    known = dict(keys())
    dotted = setting.removeprefix(PREFIX).lower().replace("__", ".")
    if dotted not in known:
        close = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]}?" if close else "`execplane config list` shows them all."
        raise NotFound(f"There is no setting {setting}.", hint=hint)
    field = known[dotted]
    file = settings_file(os.environ)
    row = {
        "setting": dotted,
        "meaning": field.description or "",
        "type": _type(field.annotation),
        "limits": ", ".join(_limit(limit) for limit in field.metadata if _limit(limit)),
        "default": _shown(field.default, _is_secret(field.annotation)),
        "environment": environment_name(dotted),
        "file": f"{dotted} in {file}",
    }
    try:
        row |= {name: value for one in _rows() if one["setting"] == dotted for name, value in one.items()}
    except ConfigError as error:
        remark(f"The settings are not valid as they are: {error.message}")
    show_one(row, output)


@app.command("new-fernet-key")
def new_fernet_key(output: OutputOption = Output.TABLE) -> None:
    """A new key to encrypt Variables and Connections with; put it first in EXECPLANE_FERNET_KEYS, restart, and call
    `execplane rotate-fernet-key`.

    Example: EXECPLANE_FERNET_KEYS="$(execplane config new-fernet-key),$OLD_KEYS"
    """
    from cryptography.fernet import Fernet

    key = Fernet.generate_key().decode()
    show_one({"fernet_key": key}, output, words=key)


def _rows() -> list[dict[str, Any]]:
    from execplane.config import current, environment_name, keys, settings_file, sources

    config = current()
    origin = sources(os.environ, settings_file(os.environ))
    rows = []
    for dotted, field in keys():
        value: Any = config
        for part in dotted.split("."):
            value = getattr(value, part)
        rows.append(
            {
                "setting": dotted,
                "value": _shown(value, _is_secret(field.annotation)),
                "source": origin.get(dotted, "default"),
                "environment": environment_name(dotted),
            }
        )
    return rows


def _is_secret(annotation: Any) -> bool:
    return "SecretStr" in str(annotation)


def _shown(value: Any, secret: bool) -> Any:
    if secret:
        hidden = value if isinstance(value, list) else value.get_secret_value() if value else ""
        return HIDDEN if hidden else ""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, dict):
        return {name: _shown(part, False) for name, part in value.items()}
    return [_shown(part, False) for part in value] if isinstance(value, list) else value


def _type(annotation: Any) -> str:
    """`Path | None`, `list[str]`, `Literal['a', 'b']`; a secret's type says that it is one."""
    if _is_secret(annotation):
        return "secret text, several separated by ','" if "list" in str(annotation) else "secret text"
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return re.sub(r"typing\.|pathlib\.|execplane\.\w+\.", "", str(annotation))


def _limit(limit: Any) -> str:
    for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if hasattr(limit, name):
            return f"{words} {getattr(limit, name)}"
    return ""
