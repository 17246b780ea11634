"""One execplane and one Chromium for all browser tests; each test has a window of its own that notes what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.parts.chromium import chromium
from tests.parts.eventually import eventually, scaled
from tests.parts.standalone import PASSWORD, Standalone

DAGS = Path(__file__).parent / "dags"
LONG = "a_dag_with_an_extraordinarily_long_name_that_a_picky_user_may_have_because_their_company_likes_it_so"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(DAGS, folder / "dags")
    (folder / "dags" / "broken.py").write_text("from execplane import DAG\n\nSELECT * FROM nothing\n")
    one = Standalone(folder / "home", folder / "dags")
    one.start()
    eventually(lambda: {"shop", LONG} <= _known(one), timeout_seconds=60, on_failure=one.tail)
    yield one
    one.stop()


def _known(one: Standalone) -> set[str]:
    return {dag["dag_id"] for dag in one.json("dags", "list")}


@pytest.fixture(scope="session")
def ran(standalone: Standalone) -> dict[str, int]:
    """Runs of the DAGs that end by themselves; task id -> id of its attempt."""
    for dag_id, ok in (("shop", True), ("fails", False), ("long", True), (LONG, True), ("column", True)):
        standalone.run("dags", "trigger", dag_id, "--run-id", "first", "--wait", "--timeout", "120", ok=ok)
    found: dict[str, int] = {}
    for dag_id in ("shop", "fails", "long", LONG):
        for attempt in standalone.json("attempts", "list", dag_id):
            found[attempt["task_id"]] = attempt["id"]
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium()
    with sync_playwright() as playwright:
        # Inside containers the sandbox has no user namespaces to work with; only our own pages are opened.
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


class Window:
    """A page that collects what a picky user would find in the console and the network log."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.complaints: list[str] = []
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(scaled(15) * 1000)
        self.page.on("console", lambda said: self._said(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        self.page.on("request", self._requested)

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {kind}: {text}")

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.complaints.append(f"{self.page.url}: asked a third party: {request.url}")

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page


@pytest.fixture(scope="session")
def cookies(browser: Browser, standalone: Standalone) -> Any:
    """Logged in once, through the form."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(standalone.url + "/dags")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#live-state")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def window(browser: Browser, standalone: Standalone, cookies: Any) -> Iterator[Callable[..., Window]]:
    """Opens windows; at the end none of them may have had anything to complain about."""
    opened: list[tuple[BrowserContext, Window]] = []

    def make(size: str = "desktop", theme: Any = "light") -> Window:
        context = browser.new_context(
            viewport=SIZES[size],  # type: ignore[arg-type]
            color_scheme=theme,
            has_touch=size == "phone",
            storage_state=cookies,
        )
        one = Window(context, standalone.url)
        opened.append((context, one))
        return one

    yield make
    for context, _ in opened:
        context.close()
    assert [complaint for _, one in opened for complaint in one.complaints] == []
