"""Hangs every group of commands onto the tree. Modules here load nothing heavy before a command runs."""

from __future__ import annotations

import typer

from execplane.cli import dags, runs


def register(app: typer.Typer) -> None:
    """Add the groups; doing it twice adds nothing."""
    known = {group.name for group in app.registered_groups}
    for name, group in (("dags", dags.app), ("runs", runs.app)):
        if name not in known:
            app.add_typer(group, name=name)
