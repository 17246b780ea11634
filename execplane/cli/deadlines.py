"""`execplane deadlines …`: what deadlines have to say, and the word that an open breaker waits for."""

from __future__ import annotations

from typing import Annotated

import typer

from execplane.cli.output import Output, OutputOption, show_done, show_rows
from execplane.cli.session import acting, reading

app = typer.Typer(help="Deadlines of attempts, where they stand still or end nobody.", no_args_is_help=True)


@app.command("list")
def list_deadlines(output: OutputOption = Output.TABLE) -> None:
    """Executors whose deadlines stand still or whose breaker is open. Example: execplane deadlines list"""
    with reading():
        from execplane.store import deadline_rows

        rows = [
            {
                "executor": word.executor,
                "breaker_open": word.breaker_open,
                "overdue": word.overdue,
                "confirmed": word.confirmed,
                "confirmed_by": word.confirmed_by,
                "since": word.since,
                "sentence": word.sentence,
            }
            for word in deadline_rows.words()
        ]
    columns = ("executor", "breaker_open", "overdue", "confirmed_by", "since", "sentence")
    show_rows(rows, output, columns, empty="Deadlines of all executors are kept.")


@app.command()
def confirm(
    executor: Annotated[str, typer.Argument(metavar="EXECUTOR", help="Whose breaker is open.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """The attempts that the open breaker shows are to be ended. Example: execplane deadlines confirm kubernetes"""
    with acting() as act:
        from execplane.actions import deadlines

        count = deadlines.confirm(act.actor, executor, clock=act.deployment.clock)
    words = f"{count} attempts of the {executor} executor are being ended, as their deadlines say."
    show_done([{"executor": executor, "confirmed": count}], output, [words])
