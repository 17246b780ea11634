"""The command tree. Exit codes: 0 done, 1 it failed (a run, a check), 2 the words were wrong, 3 refused or not
found, 4 a part (database, API server) does not answer."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from execplane.cli.output import Output, OutputOption, show_one
from execplane.contract.errors import (
    ConfigError,
    Conflict,
    ExecplaneError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
)

app = typer.Typer(
    name="execplane",
    help="A control plane for workflow tasks on Kubernetes that operators can see through.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

_EXIT_CODES: tuple[tuple[type[ExecplaneError], int], ...] = (
    (ConfigError, 2),
    (InvalidInput, 2),
    (NotFound, 3),
    (Conflict, 3),
    (Forbidden, 3),
    (Unavailable, 4),
)


def main() -> None:
    """The console script: our errors become one or two lines on standard error."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execplane.settings")
    from execplane.cli import commands

    commands.register(app)
    try:
        app()
    except ExecplaneError as error:
        print(f"execplane: {error.message}", file=sys.stderr)  # noqa: T201 - the command's own output
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)  # noqa: T201
        sys.exit(next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def standalone(
    load_examples: Annotated[bool, typer.Option("--load-examples", help="Also load the examples.")] = False,
) -> None:
    """Everything in one process: web, API, scheduler, executors. Example: execplane standalone --load-examples"""
    if load_examples:
        os.environ["EXECPLANE_LOAD_EXAMPLES"] = "true"
    from execplane.cli import standalone as parts
    from execplane.cli.session import database_errors
    from execplane.compose import Deployment, setup
    from execplane.config import current

    config = current()
    with parts.only_one(config.home) as before:
        server = parts.listen(config.web.host, config.web.port)
        setup()
        _configure_logging()
        with database_errors():
            parts.migrate()
        port = server.getsockname()[1]
        if config.web.port == 0:
            config = config.model_copy(update={"web": config.web.model_copy(update={"port": port})})
        deployment = Deployment(config)
        _ = deployment.identity
        with database_errors():
            parts.free_leases_of(before)

        def ready() -> None:
            with database_errors():
                admin = parts.make_admin(config.home, config.admin_password.get_secret_value())
            parts.announce(config.web_url, admin, config.home)

        parts.serve(deployment, server, [], ready=ready)


@app.command()
def web() -> None:
    """The web server alone: pages, API, worker API."""
    from execplane.cli import standalone as parts
    from execplane.compose import Deployment, setup

    config = setup()
    _configure_logging()
    server = parts.listen(config.web.host, config.web.port)
    parts.announce(config.web_url, None, config.home)
    parts.serve(Deployment(config), server, None)


@app.command()
def run(loop: Annotated[list[str], typer.Argument(help="scheduler, parsing, driver, driver:kubernetes, …")]) -> None:
    """Background loops without the web server. Example: execplane run scheduler driver:kubernetes"""
    import socket

    from execplane.cli import standalone as parts
    from execplane.cli.session import database_errors
    from execplane.compose import Deployment, setup

    config = setup()
    _configure_logging()
    deployment = Deployment(config)
    with database_errors():
        _ = deployment.identity
    parts.serve(deployment, socket.socket(), list(loop), web=False)


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables."""
    from execplane.cli import standalone as parts
    from execplane.cli.session import database_errors
    from execplane.compose import Deployment, setup

    deployment = Deployment(setup())
    with database_errors():
        parts.migrate()
        _ = deployment.identity
    typer.echo("The database is up to date.")


@app.command()
def version(output: OutputOption = Output.TABLE) -> None:
    """The version of execplane. Example: execplane version"""
    from execplane import __version__

    show_one({"version": __version__}, output, words=__version__)


def _configure_logging() -> None:
    from execplane.cli.logging import configure
    from execplane.config import current

    configure(current())
