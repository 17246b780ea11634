"""Scripts send their password with every call: it is hashed now and then, and what changes counts at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model, hashers
from django.test import Client

from execplane.api.public import passwords
from tests.conftest import TestClock
from tests.integration.public_api.conftest import API, basic

pytestmark = pytest.mark.django_db


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were hashed; nothing is remembered from other tests."""
    seen: list[str] = []
    check = hashers.check_password

    def noted(password: str | None, encoded: str, *more: Any, **named: Any) -> bool:
        seen.append(str(password))
        return check(password, encoded, *more, **named)

    monkeypatch.setattr("django.contrib.auth.base_user.check_password", noted)
    return seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    clock = TestClock()
    monkeypatch.setattr(passwords, "remembered", passwords.RememberedPasswords(clock=clock))
    return clock


def call(password: str, name: str = "ann") -> int:
    return Client().get(f"{API}/dags", headers=basic(name, password)).status_code


def test_a_right_password_is_hashed_once_until_its_time_is_over(clock: TestClock, hashed: list[str]) -> None:
    assert [call("a-pass"), call("a-pass"), call("a-pass")] == [200, 200, 200]
    assert hashed == ["a-pass"]
    clock.advance(passwords.REMEMBERED_SECONDS)
    assert call("a-pass") == 200
    assert hashed == ["a-pass", "a-pass"]


def test_a_wrong_one_is_refused_however_often_it_comes(clock: TestClock, hashed: list[str]) -> None:
    assert [call("a-pass"), call("wrong"), call("wrong"), call("a-pass", "bob")] == [200, 401, 401, 401]
    assert hashed == ["a-pass", "wrong", "wrong", "a-pass"], "what is remembered is one user's"


def test_a_changed_password_and_a_user_switched_off_count_at_once(clock: TestClock) -> None:
    ann = get_user_model().objects.get(username="ann")
    assert call("a-pass") == 200
    ann.set_password("new")
    ann.save()
    assert [call("a-pass"), call("new")] == [401, 200]
    ann.is_active = False
    ann.save()
    assert call("new") == 401
