"""`execplane holds …`: launch holds, an operator's stop of everything that is not running yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, remark, show_done, show_rows
from execplane.cli.session import acting, reading

if TYPE_CHECKING:
    from execplane.contract.launch_holds import LaunchHold

app = typer.Typer(help="Launch holds: what is not launched for now, and why. What runs goes on.", no_args_is_help=True)

_COLUMNS = ("id", "scope", "name", "reason", "author", "since", "until")
_WAVE = ("executor", "cause", "began_at", "total", "number", "size", "before", "launched", "well", "failed")
_ALL_COLUMNS = (*_COLUMNS, "ended_at", "ended_by")


@app.command("list")
def list_holds(
    ended: Annotated[bool, typer.Option("--all", help="Those that ended, too.")] = False,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1000)] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """Launch holds that count now. Example: execplane holds list"""
    with reading() as deployment:
        from execplane.store import launch_hold_rows

        page = launch_hold_rows.page(now=deployment.clock.now(), ended=ended, limit=limit)
        rows = [{**_fields(row.hold), "ended_at": row.ended_at, "ended_by": row.ended_by} for row in page.rows]
    empty = "There were no launch holds." if ended else "Nothing is held: launches go on."
    show_rows(rows, output, _ALL_COLUMNS if ended else _COLUMNS, empty=empty)
    if page.next_key is not None:
        remark(f"Only the newest {limit}: --limit shows more.")


@app.command()
def add(
    scope: Annotated[
        str, typer.Argument(metavar="SCOPE", help="all, executor, cluster, namespace, dag_tag or dag: what is held.")
    ],
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which one; none for all.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Shown on everything that waits for it.")] = "",
    until: Annotated[
        str, typer.Option(help="30m, 2h, 1d12h, or a date; without it the hold stays until it is released.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Launch nothing there; what runs goes on. Example: execplane holds add namespace etl -r "upgrade" --until 2h"""
    with acting() as act:
        from execplane.actions import holds

        made = holds.hold(act.actor, scope, name, reason, until, clock=act.deployment.clock)
    show_done([_fields(made)], output, [f"{made.sentence} {made.ends}"])


@app.command()
def release(
    hold_id: Annotated[int, typer.Argument(metavar="HOLD_ID", help="As `execplane holds list` shows it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Launch again what only this hold kept. Example: execplane holds release 7"""
    with acting() as act:
        from execplane.actions import holds

        ended = holds.release(act.actor, hold_id, clock=act.deployment.clock)
    show_done([_fields(ended)], output, [f"The launch hold {ended.id} on {ended.what} is released."])


@app.command()
def waves(output: OutputOption = Output.TABLE) -> None:
    """Executors whose launches go out in waves, and where they stand. Example: execplane holds waves"""
    with reading():
        from execplane.executors.driver.launch_waves import wave_of
        from execplane.store import launch_wave_rows

        rows = [
            {**{name: getattr(row, name) for name in _WAVE}, "sentence": wave_of(row).sentence}
            for row in launch_wave_rows.waves()
        ]
    show_rows(rows, output, ("executor", "began_at", "sentence"), empty="No launches go out in waves.")


@app.command("launch-all")
def launch_all(
    executor: Annotated[str, typer.Argument(metavar="EXECUTOR", help="As `execplane holds waves` shows it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """End the executor's waves: all that waits may go at once. To stop them instead, hold the executor. Example:
    execplane holds launch-all kubernetes"""
    with acting() as act:
        from execplane.actions import holds

        holds.launch_all(act.actor, executor, clock=act.deployment.clock)
    show_done([{"executor": executor}], output, [f"The {executor} executor launches all that waits."])


def _fields(hold: LaunchHold) -> dict[str, Any]:
    return {
        "id": hold.id,
        "scope": str(hold.scope),
        "name": hold.name,
        "reason": hold.reason,
        "author": hold.author,
        "since": hold.since,
        "until": hold.until,
    }
