"""Hangs every group of commands onto the tree. Modules here load nothing heavy before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from execplane.cli import (
    attempts,
    dags,
    deadlines,
    holds,
    kubernetes,
    pod_checks,
    pods,
    runs,
    secrets,
    settings,
    tasks,
    why,
)
from execplane.cli.output import Output, OutputOption

_GROUPS = {
    "dags": dags.app,
    "runs": runs.app,
    "tasks": tasks.app,
    "attempts": attempts.app,
    "pods": pods.app,
    "deadlines": deadlines.app,
    "holds": holds.app,
    "kubernetes": kubernetes.app,
    "variables": secrets.variables,
    "connections": secrets.connections,
    "config": settings.app,
}
attempts.app.command("why")(why.why_attempt)
tasks.app.command("why")(why.why_task)
pods.app.command("check")(pod_checks.check_pods)


def register(app: typer.Typer) -> None:
    """Add the groups, `status` and `rotate-fernet-key`; doing it twice adds nothing."""
    known = {group.name for group in app.registered_groups}
    for name, group in _GROUPS.items():
        if name not in known:
            app.add_typer(group, name=name)
    if all(command.callback is not status for command in app.registered_commands):
        app.command()(status)
        app.command("rotate-fernet-key")(secrets.rotate_fernet_key)


def status(
    timeout: Annotated[float, typer.Option(help="How many seconds a part has to answer.", min=0.1)] = 5.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Queue age, loops, leases, last create and success, and whether every part answers; works with the web down.

    Exit code: 0 all is well, 1 something is wrong, 4 the database does not answer. Example: execplane status -o json
    """
    from execplane.cli.status import run_status

    code = run_status(timeout, output)
    if code:
        raise typer.Exit(code)
