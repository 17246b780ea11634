"""The drift page as an operator meets it: readable on a phone, and a held executor is released by two presses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window
from tests.parts.standalone import Standalone

NOW = "2026-03-01 12:00:00"
LONG_POD = "a-dag-with-a-rather-long-name-and-a-task-with-another-aaaabbbbcc"
FINDINGS = (
    ("foreign_incarnation", "operator", NOW, "It is attempt 812's, and the ledger's newest is 640: it was restored."),
    ("stuck_terminating", "operator", None, "Its grace period was over 3 h ago and it is still there, on node n1."),
    ("undead", "delete", None, "Its attempt ended as success, and it runs on."),
)


@pytest.fixture
def found(standalone: Standalone) -> Iterator[None]:
    """Findings as a driver would have stored them."""
    columns = "executor, kind, mend, cluster, namespace, pod_name, pod_uid, attempt_id, task, sentence, first_seen, "
    columns += "last_seen, holds_since, tries, action, action_by, decision, decided_by, decision_reason"
    with closing(sqlite3.connect(standalone.home / "execplane.sqlite3", timeout=30)) as ledger, ledger:
        for number, (kind, mend, holds, sentence) in enumerate(FINDINGS):
            ledger.execute(
                f"INSERT INTO execplane_driftfinding ({columns}) VALUES ({', '.join('?' * 19)})",
                (
                    *("kubernetes", kind, mend, "", "team-a-production", LONG_POD, f"u{number}", number, "d/r/t#1"),
                    *(sentence, NOW, NOW, holds, 0, "", "", "", "", ""),
                ),
            )
    yield
    with closing(sqlite3.connect(standalone.home / "execplane.sqlite3", timeout=30)) as ledger, ledger:
        ledger.execute("DELETE FROM execplane_driftfinding")


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
def test_findings_fit_and_say_what_can_be_decided(
    window: Callable[..., Window], found: None, size: str, theme: str
) -> None:
    page = window(size, theme).open("/drift")
    expect(page.get_by_text("The kubernetes executor launches nothing.")).to_be_visible()
    expect(page.get_by_role("link", name="Take away by force")).to_have_count(1)
    wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room


def test_a_held_executor_is_released_with_a_reason(window: Callable[..., Window], found: None) -> None:
    page = window().open("/drift")
    page.get_by_role("link", name="Release").click()
    question = page.locator("dialog[open]")
    question.get_by_label("Reason").fill("restored on purpose")
    question.get_by_role("button", name="Release").click()
    expect(page.get_by_text("The kubernetes executor launches again.")).to_be_visible()
    expect(page.get_by_text("launches nothing")).to_have_count(0)
    expect(page.get_by_text("restored on purpose")).to_be_visible()
