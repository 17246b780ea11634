"""The user's command, `execplane`: reads words, calls an action or a query, prints a table, JSON or YAML."""

from execplane.cli.main import main

__all__ = ["main"]
