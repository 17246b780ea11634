"""A page asks once what it missed while it was not listening yet; where that was nothing, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Response

from tests.browser.conftest import Window


def _of_the_live_part(answer: Response) -> bool:
    return answer.request.headers.get("hx-request") == "true"


@pytest.mark.parametrize("path", ["/dags/shop/runs/first", "/attempts/{broken}", "/import-errors"])
def test_a_page_that_missed_nothing_is_not_sent_again(
    window: Callable[..., Window], ran: dict[str, int], path: str
) -> None:
    one = window()

    with one.page.expect_response(_of_the_live_part) as answer:
        one.open(path.format(**ran))

    assert answer.value.status == 204
