"""`execplane variables …`, `execplane connections …`: set, list and delete; `execplane rotate-fernet-key`: encrypt them
anew. Values are never printed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from execplane.cli.output import Output, OutputOption, remark, show_one, show_rows
from execplane.cli.session import acting, reading
from execplane.contract.errors import ExecplaneError, InvalidInput

variables = typer.Typer(help="Variables: set, list, delete.", no_args_is_help=True)
connections = typer.Typer(help="Connections: set, list, delete.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The Variable's key.")]
ConnId = Annotated[str, typer.Argument(metavar="CONN_ID", help="The Connection's id.")]
_STDIN = 'or "-" to read it from standard input, which keeps it out of the shell\'s history'


def _value(text: str) -> str:
    return sys.stdin.read().rstrip("\n") if text == "-" else text


@variables.command("set")
def set_variable(
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help=f"The value, {_STDIN}.")],
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a Variable or change it. Example: execplane variables set table orders"""
    with acting() as session:
        from execplane.actions import secrets

        secrets.set_variable(session.actor, session.deployment.secrets, key, _value(value), description)
    show_one({"key": key, "set": True}, output, words=f"The Variable {key} is set.")


@variables.command("delete")
def delete_variable(key: Key, output: OutputOption = Output.TABLE) -> None:
    """Example: execplane variables delete table"""
    with acting() as session:
        from execplane.actions import secrets

        secrets.delete_variable(session.actor, key)
    show_one({"key": key, "deleted": True}, output, words=f"The Variable {key} is deleted.")


@variables.command("list")
def list_variables(output: OutputOption = Output.TABLE) -> None:
    """Keys and descriptions. Example: execplane variables list -o json"""
    _list("variable", "key", output)


@connections.command("set")
def set_connection(
    conn_id: ConnId,
    connection: Annotated[str, typer.Argument(metavar="URI|JSON", help=f"As in Airflow: a URI or JSON, {_STDIN}.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a Connection or change it. Example: execplane connections set db postgres://user:password@host:5432/orders"""
    from execplane.sdk import Connection

    text = _value(connection).strip()
    try:
        parsed = Connection.from_json(text, conn_id) if text.startswith("{") else Connection(conn_id=conn_id, uri=text)
    except (ValueError, TypeError, ExecplaneError) as error:
        raise InvalidInput(f"The Connection {conn_id} is neither a URI nor JSON ({type(error).__name__}).") from None
    names = ("conn_type", "host", "schema", "login", "port", "password", "extra", "description")
    fields = {name: getattr(parsed, name, None) for name in names}
    with acting() as session:
        from execplane.actions import secrets

        secrets.set_connection(session.actor, session.deployment.secrets, conn_id, fields)
    show_one({"conn_id": conn_id, "set": True}, output, words=f"The Connection {conn_id} is set.")


@connections.command("delete")
def delete_connection(conn_id: ConnId, output: OutputOption = Output.TABLE) -> None:
    """Example: execplane connections delete db"""
    with acting() as session:
        from execplane.actions import secrets

        secrets.delete_connection(session.actor, conn_id)
    show_one({"conn_id": conn_id, "deleted": True}, output, words=f"The Connection {conn_id} is deleted.")


@connections.command("list")
def list_connections(output: OutputOption = Output.TABLE) -> None:
    """Ids and descriptions. Example: execplane connections list"""
    _list("connection", "conn_id", output)


def rotate_fernet_key(output: OutputOption = Output.TABLE) -> None:
    """Encrypt all Variables and Connections anew with the first of EXECPLANE_FERNET_KEYS, so that the others can go.

    Ended half-way or repeated, it does what is left. Exit code 1: some can be opened with none of the keys.
    Example: execplane rotate-fernet-key
    """
    with acting() as session:
        from execplane.actions import secrets

        done = secrets.rotate_fernet_key(session.actor, session.deployment.secrets, progress=_tell)
    row = {
        "variables": done.variables,
        "connections": done.connections,
        "already": done.already,
        "lost": list(done.lost),
    }
    anew = f"Encrypted anew: Variables {done.variables}, Connections {done.connections}"
    show_one(row, output, words=f"{anew}; with the newest key already: {done.already}.")
    for name in done.lost:
        remark(f"None of EXECPLANE_FERNET_KEYS opens {name}: add the key that does, or set it again.")
    if done.lost:
        raise typer.Exit(1)


def _tell(done: int, total: int) -> None:
    if done < total:
        remark(f"  {done} of {total}")


def _list(kind: str, name: str, output: Output) -> None:
    with reading():
        from execplane.store import secrets

        rows = [{name: key, "description": description} for key, description in secrets.names(kind)]
    empty = f"There are no {kind.capitalize()}s. `execplane {kind}s set` makes one."
    show_rows(rows, output, (name, "description"), empty=empty)
