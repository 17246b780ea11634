"""`python -m execplane.cli`: the command where its console script is not installed (a checkout, a test)."""

from __future__ import annotations

from execplane.cli.main import main

main()
