"""The card "Why pending" fetches itself after the page, beside it, and says the one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import Window
from tests.parts.eventually import eventually
from tests.parts.standalone import Standalone

DAG = """
from execplane import DAG
from execplane.sdk.operators.bash import BashOperator

with DAG("held", schedule=None):
    BashOperator(task_id="first", bash_command="true", pool="nobody_made_it") >> BashOperator(
        task_id="second", bash_command="true"
    )
"""


@pytest.fixture(scope="module")
def held(standalone: Standalone) -> int:
    """The id of an attempt that waits for a pool which does not exist."""
    folder = Path(standalone.environment["EXECPLANE_DAGS_FOLDERS"])
    (folder / "held.py").write_text(DAG)
    eventually(lambda: "held" in {dag["dag_id"] for dag in standalone.json("dags", "list")}, 60)
    standalone.run("dags", "trigger", "held", "--run-id", "r1")
    found = eventually(lambda: standalone.json("attempts", "list", "held"), 30)
    return int(found[0]["id"])


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
def test_the_page_of_an_attempt_that_waits_says_why(
    window: Callable[..., Window], held: int, size: str, theme: str
) -> None:
    page = window(size, theme).open(f"/attempts/{held}")

    card = page.locator(f"#why-{held}")
    card.get_by_text("pool_missing").wait_for()
    assert "The pool nobody_made_it does not exist" in card.inner_text()
    assert "Create the pool" in card.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_task_without_an_attempt_says_what_it_waits_for(window: Callable[..., Window], held: int) -> None:
    page = window().open("/dags/held/runs/r1/tasks/second")

    page.get_by_text("It waits for first (queued)").wait_for()


def test_a_refreshed_page_leaves_the_card_as_it_is(
    window: Callable[..., Window], held: int, standalone: Standalone
) -> None:
    page = window().open(f"/attempts/{held}")
    page.get_by_text("pool_missing").wait_for()

    with page.expect_response(lambda answer: answer.url.endswith(f"/attempts/{held}")) as answer:
        page.evaluate("document.dispatchEvent(new Event('refresh'))")

    assert answer.value.status in (200, 204)
    assert page.locator(f"#why-{held}").get_by_text("pool_missing").count() == 1
