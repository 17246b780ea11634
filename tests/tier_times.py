"""A pytest plugin that says how long each tier took: the tests run in one process, so that they share one cluster."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

_ROOT = Path(__file__).parent
_seconds: dict[str, float] = {}
_last = monotonic()


def _tier(path: Path) -> str:
    try:
        return path.relative_to(_ROOT).parts[0]
    except ValueError:
        return "other"


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid: str) -> None:
    """Set-up of shared parts counts for the tier that needed them first."""
    global _last
    now = monotonic()
    tier = _tier(Path(nodeid.split("::")[0]).absolute())
    _seconds[tier] = _seconds.get(tier, 0.0) + now - _last
    _last = now


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if len(_seconds) > 1:
        terminalreporter.section("tiers")
        for tier, seconds in _seconds.items():
            terminalreporter.write_line(f"{tier:12} {seconds:7.1f} s")
