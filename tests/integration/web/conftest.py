"""Pages over one small world of rows, as an operator and as a reader get them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from execplane.store.deployment import identity
from execplane.store.models import Attempt, User
from execplane.web import wiring
from tests.conftest import TestClock
from tests.integration import web_rows


@pytest.fixture
def parts(clock: TestClock) -> wiring.Parts:
    """What the pages are given; a module whose pages need more overrides it."""
    return wiring.Parts(clock=clock)


@pytest.fixture(autouse=True)
def wired(parts: wiring.Parts, settings: Settings) -> Iterator[None]:
    # Files are found where they lie; nothing is collected for a test.
    settings.STATIC_ROOT = None
    before = wiring.parts()
    wiring.wire(parts)
    yield
    wiring.wire(before)


@pytest.fixture
def world(clock: TestClock) -> Attempt:
    identity(clock.now())
    return web_rows.make_world(clock.now())


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ada", is_staff=True))
    return client


@pytest.fixture
def reader(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("bob"))
    return client
