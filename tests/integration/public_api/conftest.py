"""Users of the public API, and calls with their passwords."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

API = "/api/v1"


@pytest.fixture(autouse=True)
def users(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    get_user_model().objects.create_user("ann", password="a-pass", is_staff=True)
    get_user_model().objects.create_user("bob", password="b-pass")


def basic(name: str = "ann", password: str = "a-pass") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def get(path: str, **query: Any) -> Any:
    return Client().get(API + path, query, headers=basic())


def post(path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    text = body if isinstance(body, str) else json.dumps(body or {})
    return Client().post(API + path, text, content_type="application/json", headers=headers or basic())


def patch(path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    return Client().patch(API + path, json.dumps(body), content_type="application/json", headers=headers or basic())
