"""The browser of the browser tests: the machine's Chromium, Debian's package, or the one that Playwright brought."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.parts import debian
from tests.parts.cache import PartUnavailableError

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> Path:
    """The program's path, installed if we may. Raises PartUnavailableError with the line to run."""
    found = _of_the_machine() or _of_playwright()
    if found is None and "ID=debian" in Path("/etc/os-release").read_text().splitlines():
        debian.require({"chromium": "chromium"})
        found = _of_the_machine()
    if found is None:
        # Ubuntu's package is a snap, which does not start everywhere.
        raise PartUnavailableError("no Chromium; run: .venv/bin/playwright install --with-deps chromium")
    return found


def _of_the_machine() -> Path | None:
    return next((path for name in _NAMES if (path := debian.program(name)) is not None), None)


def _of_playwright() -> Path | None:
    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return path if path.exists() else None
