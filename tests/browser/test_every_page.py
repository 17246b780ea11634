"""Every page, on a desk and on a phone, by day and by night: nothing in the console, nothing beyond the edge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import LONG, Window

PAGES = (
    "/dags",
    "/dags?status=paused",
    "/dags/shop",
    "/dags/shop/graph",
    "/dags/shop/runs",
    "/dags/shop/code",
    "/dags/shop/details",
    "/dags/shop/trigger",
    "/dags/shop/runs/first",
    "/dags/shop/runs/first/graph",
    "/dags/shop/runs/first/details",
    "/dags/shop/runs/first/clear",
    "/dags/shop/runs/first/tasks/count",
    "/dags/shop/runs/first/tasks/start",
    "/dags/fails/runs/first",
    "/dags/fails/runs/first/tasks/after",
    "/attempts/{broken}",
    "/attempts/{broken}/timeline",
    "/attempts/{broken}/pod",
    "/attempts/{broken}/rendered",
    "/attempts/{broken}/xcoms",
    "/dags/shop/runs/first/tasks/count/mark/failed",
    "/dags/shop/runs/first/tasks/start/attempts",
    f"/dags/{LONG}",
    f"/dags/{LONG}/graph",
    f"/dags/{LONG}/runs/first",
    "/attempts/{told}/xcoms",
    "/runs",
    "/pods",
    "/pods?view=ended",
    "/drift",
    "/drift?view=all",
    "/holds",
    "/holds?view=all",
    "/holds/new",
    "/latency",
    "/latency?by=template&phase=ended",
    "/pools",
    "/import-errors",
    "/loops",
    "/audit",
    "/variables",
    "/variables/set",
    "/connections",
    "/connections/set",
)
ADMIN = ("/admin/", "/admin/execplane/pool/", "/admin/execplane/pool/add/", "/admin/execplane/user/")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_pages_fit_and_leave_the_console_empty(
    window: Callable[..., Window], ran: dict[str, int], size: str, theme: str
) -> None:
    one = window(size, theme)
    for path in PAGES:
        page = one.open(path.format(**ran))
        page.wait_for_load_state("load")
        wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, f"{path} is {wide} px wide on {room}"
        # Attached is enough: on a phone only its dot is to be seen.
        page.wait_for_selector("#live-state[data-state=live]", state="attached")


def test_nothing_is_cut_between_a_phone_and_a_desk(window: Callable[..., Window], ran: dict[str, int]) -> None:
    one = window()
    for path in ("/dags", "/dags/shop/runs/first", "/runs", "/pods?view=ended", "/audit", "/loops", "/attempts/{talk}"):
        page = one.open(path.format(**ran))
        for width in (1240, 1081, 1080, 941, 940, 600, 320):
            page.set_viewport_size({"width": width, "height": 800})
            wide, head = page.evaluate(
                "[document.documentElement.scrollWidth, document.querySelector('.top').offsetHeight]"
            )
            assert wide <= width, f"{path} is {wide} px wide on {width}"
            assert head < 60, f"the head of {path} breaks into two lines on {width}"


def test_a_long_name_breaks_no_other_row_into_two_lines(window: Callable[..., Window], ran: dict[str, int]) -> None:
    one = window()
    for path, cells in (
        ("/dags", "td[data-label='Last run'] a"),
        ("/runs", "td[data-label=Started], td[data-label=By]"),
    ):
        page = one.open(path)
        lines = page.evaluate(
            """(cells) => [...document.querySelectorAll(cells)].map((cell) => {
              const words = document.createRange();
              words.selectNodeContents(cell);
              return Math.round(words.getBoundingClientRect().height / parseFloat(getComputedStyle(cell).lineHeight));
            })""",
            cells,
        )
        assert set(lines) == {1}, path


OVERFLOW = """() => { const box = document.querySelector(".graph-scroll"), svg = box.querySelector("svg.graph");
  return {right: box.scrollWidth - box.clientWidth, below: box.scrollHeight - box.clientHeight,
    scale: svg.getBoundingClientRect().width / svg.dataset.w}; }"""


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_graph_opens_whole_unless_nobody_could_read_it(
    window: Callable[..., Window], ran: dict[str, int], size: str
) -> None:
    one = window(size)

    whole = one.open("/dags/column/graph").evaluate(OVERFLOW)
    crowd = one.open("/dags/crowd/graph").evaluate(OVERFLOW)

    assert (whole["right"], whole["below"]) == (0, 0)
    assert 0.6 <= whole["scale"] <= 1
    assert crowd["below"] > 0
    assert crowd["scale"] >= 0.7


def test_the_admin_works_under_our_policy_with_an_empty_console(window: Callable[..., Window]) -> None:
    one = window()
    for path in ADMIN:
        page = one.open(path)
        page.wait_for_load_state("load")
        assert page.locator("#site-name").is_visible(), path


def test_the_theme_can_be_switched_and_stays(window: Callable[..., Window]) -> None:
    page = window().open("/dags")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.click("#theme")
    page.click("#theme")
    page.reload()

    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


CONTRAST = """() => {
  const parse = (c) => { const d = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    d.fillStyle = c; d.fillRect(0, 0, 1, 1); return [...d.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (parse(c)[3] > 200) return parse(c); } return [255, 255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("main *, header.top *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim()) || !e.offsetParent) continue;
    // A coloured square's number has a shadow of its own; the graph's text lies on drawn boxes.
    if (e.closest(".grid .c, svg, [disabled], .sr")) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(`${e.tagName}.${e.className} "${e.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(window: Callable[..., Window], ran: dict[str, int], theme: str) -> None:
    one = window("desktop", theme)
    for path in PAGES:
        page = one.open(path.format(**ran))
        assert page.evaluate(CONTRAST) == [], path


def test_every_control_has_a_name(window: Callable[..., Window], ran: dict[str, int]) -> None:
    one = window()
    for path in PAGES:
        page = one.open(path.format(**ran))
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea")]
              .filter((e) => e.checkVisibility() && !e.closest("[aria-hidden=true]"))
              .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.title))
              .map((e) => e.outerHTML.slice(0, 120))"""
        )
        assert nameless == [], path
