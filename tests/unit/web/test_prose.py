"""Authors' Markdown becomes HTML in which nothing can act."""

from __future__ import annotations

import pytest

from execplane.web.prose import html


def test_markdown_is_rendered_below_the_page_s_own_headings() -> None:
    found = html("# Orders\n\nLoads **orders**, see [the runbook](https://example.com/runbook).\n\n* one\n")

    assert "<h3>Orders</h3>" in found
    assert "<strong>orders</strong>" in found
    assert '<a href="https://example.com/runbook" rel="noopener noreferrer">the runbook</a>' in found
    assert "<li>one</li>" in found


def test_tables_and_code_keep_their_form() -> None:
    found = html("| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nif a < b: pass\n```\n")

    assert "<th>a</th>" in found
    assert "<td>2</td>" in found
    assert "if a &lt; b: pass" in found


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[press](javascript:alert(1))",
        '<a href="javascript:alert(1)">press</a>',
        '<p onclick="alert(1)" style="position:fixed">hi</p>',
        "<iframe src=https://example.com></iframe>",
        "<style>body{display:none}</style>",
        "<form action=https://example.com><input name=q></form>",
        "![x](javascript:alert(1))",
        '<svg><a xlink:href="javascript:alert(1)">x</a></svg>',
    ],
)
def test_what_could_act_is_stripped(text: str) -> None:
    found = html(f"before\n\n{text}\n\nafter")

    assert "before" in found
    assert "after" in found
    for word in (
        "<script",
        "alert(1)</",
        "onerror",
        'href="javascript',
        "onclick",
        "style",
        "<iframe",
        "<form",
        "<svg",
    ):
        assert word not in found


def test_a_picture_is_a_link_because_pages_ask_no_third_party() -> None:
    found = html("![the flow](https://example.com/flow.png)")

    assert "<img" not in found
    assert '<a href="https://example.com/flow.png" rel="noopener noreferrer">the flow</a>' in found


def test_a_picture_inside_a_link_is_the_link_s_words() -> None:
    found = html(
        "[![build passing](https://example.com/badge.svg)](https://example.com/ci) ![a](https://example.com/b)"
    )

    assert '<a href="https://example.com/ci" rel="noopener noreferrer">build passing</a>' in found
    assert "badge.svg" not in found
    assert '<a href="https://example.com/b" rel="noopener noreferrer">a</a>' in found


def test_headings_in_raw_html_are_lowered_like_the_others() -> None:
    found = html("<h1 align=center>Orders</h1>\n\ntext <H2>x</H2>\n\n`<h1>` <hr>")

    assert "<h3>Orders</h3>" in found
    assert "<h4>x</h4>" in found
    assert "<code>&lt;h1&gt;</code>" in found
    assert "<hr>" in found
