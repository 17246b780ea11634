"""Launch holds as an operator meets them: made in a dialog, seen where one looks, and released; on a phone, too."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window
from tests.parts.standalone import Standalone

NOW = "2026-03-01 12:00:00"
REASON = "the warehouse is moved to another zone and nothing may write into it until the night shift says so"


@pytest.fixture
def waves(standalone: Standalone) -> Iterator[None]:
    """A wave as a driver would have noted it; of an executor that nobody drives here."""
    with closing(sqlite3.connect(standalone.home / "execplane.sqlite3", timeout=30)) as ledger, ledger:
        ledger.execute(
            "INSERT INTO execplane_launchwave VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ("kubernetes", "the DAG sales was unpaused", NOW, 1400, 20, 2, 10, 20, 4, 1),
        )
    yield
    with closing(sqlite3.connect(standalone.home / "execplane.sqlite3", timeout=30)) as ledger, ledger:
        ledger.execute("DELETE FROM execplane_launchwave")


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
def test_a_hold_is_made_seen_and_released(window: Callable[..., Window], waves: None, size: str, theme: str) -> None:
    one = window(size, theme)
    page = one.open("/holds")
    page.get_by_role("link", name="Hold launches").first.click()
    form = page.locator("dialog[open]")
    form.locator("[name=scope]").select_option("namespace")
    form.locator("[name=name]").fill("Not A Name")
    form.locator("[name=reason]").fill(REASON)
    form.get_by_role("button", name="Hold launches").click()
    expect(form.get_by_text("no name that a namespace can have")).to_be_visible()
    form.locator("[name=name]").fill("team-a-production")
    form.get_by_role("button", name="Hold launches").click()
    expect(page.get_by_text("Held: the namespace team-a-production.")).to_be_visible()

    for path in ("/holds", "/dags", "/pods", "/loops"):
        one.open(path)
        expect(page.get_by_text(REASON).first).to_be_visible()
        expect(page.get_by_text("wave 2 of about 8, 30 of 1,400 launched")).to_be_visible()
        wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, path

    page.get_by_role("link", name="Release").first.click()
    page.locator("dialog[open]").get_by_role("button", name="Release").click()
    expect(page.get_by_text("Released: the namespace team-a-production.")).to_be_visible()
    expect(page.locator("#main").get_by_role("link", name="Release")).to_have_count(0)
