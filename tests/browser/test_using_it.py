"""What people do: trigger, watch, read a log, find their way by keyboard, clear, stop."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import WebSocketRoute, expect

from tests.browser.conftest import Window
from tests.parts.standalone import Standalone

Open = Callable[..., Window]


def test_a_run_is_triggered_from_the_form_and_watched_until_its_end_without_reloading(
    window: Open, ran: dict[str, int]
) -> None:
    page = window().open("/dags/shop")
    page.keyboard.press("t")
    form = page.locator("dialog[open]")
    form.locator("[name='param.limit']").fill("999")
    form.get_by_role("button", name="Trigger").click()
    expect(form.get_by_role("alert")).to_contain_text("greater than the maximum of 100")
    form.locator("[name='param.limit']").fill("7")
    form.get_by_role("button", name="Trigger").click()

    page.wait_for_url(re.compile("/runs/manual__"))
    page.evaluate("window.stillHere = true")
    expect(page.locator(".page-head > .state")).to_have_text("success", timeout=60_000)

    assert page.evaluate("window.stillHere") is True
    expect(page.locator("#t-count")).to_contain_text("[3]")


def test_the_grid_is_walked_with_arrows_and_opened_with_enter(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags/shop")
    page.locator("[data-grid] a[tabindex='0']").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("[data-grid] a.bar:focus")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tip")).to_contain_text("success")
    page.keyboard.press("Enter")

    page.wait_for_url("**/attempts/*")


def test_a_group_folds_and_stays_folded(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags/shop")
    page.get_by_role("button", name="check").click()
    expect(page.locator("[id='row-check.sums']")).to_be_hidden()
    page.reload()

    expect(page.locator("[id='row-check.sums']")).to_be_hidden()


def test_letters_lead_through_the_product(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags")
    page.keyboard.press("/")
    page.keyboard.type("fai")
    expect(page.locator("#dag-shop")).to_have_count(0)
    assert page.url.endswith("?q=fai")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dags/fails")
    page.keyboard.press("3")
    page.wait_for_url("**/dags/fails/runs")
    page.keyboard.press("u")
    page.wait_for_url("**/dags")
    page.keyboard.press("g")
    page.keyboard.press("l")
    page.wait_for_url("**/loops")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def test_the_log_has_colours_and_its_lines_have_addresses(window: Open, ran: dict[str, int]) -> None:
    page = window().open(f"/attempts/{ran['start']}")

    expect(page.locator(".log .a-red")).to_have_text("red")
    line = page.locator(".log .line", has=page.locator(".a-red")).locator("a.no")
    line.click()
    expect(page.locator(".log .target")).to_contain_text("red plain")
    page.reload()
    expect(page.locator(".log .target")).to_contain_text("red plain")


def test_a_long_log_is_searched_and_only_its_window_is_in_the_page(window: Open, ran: dict[str, int]) -> None:
    page = window().open(f"/attempts/{ran['talk']}")
    expect(page.locator("[data-log-foot]")).to_contain_text("6,0")
    expect(page.locator(".log .line").last).to_be_in_viewport()

    page.keyboard.press("/")
    page.keyboard.type("number 1234 ")
    expect(page.locator("[data-log-found]")).to_have_text("1 of 1")
    expect(page.locator(".log .hit")).to_be_in_viewport()
    expect(page.locator(".log .hit mark")).to_have_text("number 1234 ")

    assert page.locator(".log .line").count() < 2000


def test_a_running_log_grows_and_the_attempt_is_cancelled(
    window: Open, standalone: Standalone, ran: dict[str, int]
) -> None:
    standalone.run("dags", "trigger", "slow", "--run-id", "first")
    page = window().open("/dags/slow/runs/first")
    expect(page.locator("#t-tick .state")).to_have_text("running", timeout=30_000)
    page.locator("#t-tick a.strong").click()
    expect(page.locator(".log")).to_contain_text("tick 3", timeout=30_000)
    expect(page.locator(".log")).to_contain_text("tick 9", timeout=30_000)

    page.get_by_role("link", name="Cancel").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("tick")
    expect(dialog.get_by_role("link", name="Back")).to_be_visible()
    dialog.locator("[name=reason]").fill("seen enough")
    dialog.get_by_role("button", name="Cancel attempt").click()

    expect(page.locator(".facts .state").first).to_have_text(re.compile("cancelled|failed"), timeout=60_000)
    expect(page.locator("main")).to_contain_text("seen enough")


def test_clearing_shows_what_it_hits_before_it_does(window: Open, ran: dict[str, int]) -> None:
    page = window().open(f"/attempts/{ran['broken']}")
    page.keyboard.press("c")
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("#affected")).to_contain_text("2 task instances")
    dialog.get_by_label("Downstream").uncheck()
    expect(dialog.locator("#affected")).to_contain_text("1 task instance")
    dialog.get_by_role("button", name="Clear").click()

    expect(page.locator("#toasts")).to_contain_text("Cleared 1 task instance.")
    expect(page.locator(".attempts .chip")).to_have_count(2, timeout=30_000)


def test_a_mapped_task_is_marked_whole(window: Open, standalone: Standalone, ran: dict[str, int]) -> None:
    standalone.run("dags", "trigger", "shop", "--run-id", "marked", "--wait", "--timeout", "120")
    page = window("phone").open("/dags/shop/runs/marked/tasks/count")
    page.get_by_text("Mark all").click()
    page.get_by_role("link", name="skipped").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("#affected")).to_contain_text("3 task instances")
    dialog.get_by_role("button", name="Mark all skipped").click()

    expect(page.locator("#toasts")).to_contain_text("Marked count (3 instances) as skipped.")
    expect(page.locator("td[data-label=State] .s-skipped")).to_have_count(3)


def test_the_switch_pauses_at_once_and_says_so(window: Open, ran: dict[str, int]) -> None:
    page = window("phone").open("/dags")
    switch = page.get_by_role("switch", name="long is active")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(page.locator("#toasts")).to_contain_text("long is paused")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")


def test_the_phone_has_a_menu(window: Open) -> None:
    page = window("phone").open("/dags")
    page.locator("#nav-button").click()
    page.get_by_role("link", name="Import errors").click()

    page.wait_for_url("**/import-errors")
    expect(page.locator("main")).to_contain_text("broken.py")


def test_times_are_utc_until_the_reader_wants_local_ones(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags/shop/runs/first")
    expect(page.locator("#zone-name")).to_have_text("UTC")
    assert page.evaluate(
        "document.querySelector('time.abs').textContent ==="
        " document.querySelector('time.abs').dateTime.slice(0, 19).replace('T', ' ')"
    )
    page.locator("#zone").click()
    assert page.evaluate("localStorage.getItem('execplane.zone')") == "local"


def test_documentation_is_rendered_and_stays_open(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags/shop")
    page.get_by_text("Documentation").click()

    expect(page.locator(".prose td em")).to_have_text("ada")
    expect(page.locator(".prose img")).to_have_count(0)


def test_a_variable_is_made_changed_and_deleted_in_dialogs(window: Open) -> None:
    page = window().open("/variables")
    page.get_by_role("link", name="New Variable").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("1 to 250 characters")
    dialog.locator("[name=name]").fill("token")
    dialog.locator("[name=value]").fill("s3cret-word")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("The Variable token is set.")
    expect(page.locator("main")).not_to_contain_text("s3cret-word")

    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(dialog.locator("[name=value]")).to_have_value("")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.get_by_role("link", name="Delete token").click()
    dialog.get_by_role("button", name="Delete Variable").click()
    expect(page.locator("main")).to_contain_text("No Variables")


def test_every_dialog_closes_by_escape_and_gives_the_focus_back(window: Open, ran: dict[str, int]) -> None:
    one = window()
    for path, key in (("/dags/shop", "t"), ("/dags/shop/runs/first", "c"), (f"/attempts/{ran['broken']}", "c")):
        page = one.open(path)
        page.locator(f"[data-key={key}]").focus()
        page.keyboard.press(key)
        expect(page.locator("dialog[open]")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)
        expect(page.locator(f"[data-key={key}]")).to_be_focused()


def test_the_first_tab_skips_to_the_content(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_what_was_done_stands_in_the_audit_log(window: Open, ran: dict[str, int]) -> None:
    page = window().open("/dags/shop/runs/first/details")
    expect(page.locator(".changes")).to_contain_text("trigger")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/audit")
    page.get_by_role("link", name="shop/first").first.click()

    page.wait_for_url("**/dags/shop/runs/first")


def test_on_a_phone_a_group_s_cards_stand_in_from_those_of_no_group(window: Open, ran: dict[str, int]) -> None:
    page = window("phone").open("/dags/shop/runs/first")

    def left_px(row: str) -> float:
        box = page.locator(f"[id='{row}']").bounding_box()
        assert box is not None
        return box["x"]

    assert left_px("t-check.sums") > left_px("t-start") == left_px("g-check")


def test_what_changed_before_the_socket_listened_is_shown_when_it_does(
    window: Open, standalone: Standalone, ran: dict[str, int]
) -> None:
    one = window()
    sockets: list[WebSocketRoute] = []

    def connected(socket: WebSocketRoute) -> None:
        # Nothing is passed on: the page learns only what is said below.
        socket.on_message(lambda _: sockets.append(socket))

    one.page.route_web_socket(re.compile("/ws/live$"), connected)
    page = one.open("/dags")
    switch = page.get_by_role("switch", name="slow is active")
    expect(page.locator("#live-state")).to_have_attribute("data-state", "live")
    expect(switch).to_have_attribute("aria-checked", "true")
    standalone.run("dags", "pause", "slow")
    try:
        sockets[0].send('{"subscribed": 1}')
        expect(switch).to_have_attribute("aria-checked", "false")
    finally:
        standalone.run("dags", "unpause", "slow")


def test_a_form_opened_by_its_address_says_what_is_wrong_where_it_stands(window: Open, ran: dict[str, int]) -> None:
    one = window()
    page = one.open("/dags/shop/trigger")
    page.locator("[name='param.limit']").fill("999")
    page.get_by_role("button", name="Trigger").click()
    expect(page.locator("main").get_by_text("greater than the maximum of 100")).to_be_visible()
    # Chromium notes the status of the refused page itself.
    assert all("422" in one.complaints.pop() for _ in one.complaints[:])
    page.locator("[name='param.limit']").fill("9")
    page.get_by_role("button", name="Trigger").click()

    page.wait_for_url(re.compile("/runs/manual__"))
    expect(page.locator("#toasts")).to_contain_text("Triggered manual__")
