"""Variables and Connections by command: kept, listed, deleted, and never printed."""

from __future__ import annotations

import json

import pytest

from execplane.compose import Deployment
from execplane.config import current
from execplane.store import secrets
from execplane.store.models import Audit
from tests.integration.cli_runner import execplane

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_variable_is_set_listed_and_deleted_and_its_value_stays_unseen() -> None:
    box = Deployment(current()).secrets
    said = [execplane("variables", "set", "table", "top-secret"), execplane("variables", "list", "-o", "json")]

    assert [one.code for one in said] == [0, 0]
    assert said[1].json == [{"key": "table", "description": ""}]
    assert secrets.variable(box, "table") == "top-secret"
    assert execplane("variables", "delete", "table").code == 0
    assert execplane("variables", "delete", "table").code == 3
    assert not any("top-secret" in one.out + one.err for one in said)
    assert all("top-secret" not in str(row) for row in Audit.objects.values())


def test_a_connection_is_taken_as_a_uri_or_as_json() -> None:
    box = Deployment(current()).secrets

    assert execplane("connections", "set", "db", "postgres://ada:pw@host:5432/orders").code == 0
    found = json.loads(secrets.connection_json(box, "db") or "{}")
    assert (found["conn_type"], found["login"], found["password"], found["port"]) == ("postgres", "ada", "pw", 5432)

    assert execplane("connections", "set", "db", '{"conn_type": "http", "host": "example"}').code == 0
    assert json.loads(secrets.connection_json(box, "db") or "{}")["conn_type"] == "http"
    assert "pw" not in execplane("connections", "list").out
    assert execplane("connections", "set", "db", "{not json").code == 2


def test_a_variable_set_again_keeps_its_description_unless_given_another() -> None:
    execplane("variables", "set", "table", "orders", "--description", "Of the shop")
    execplane("variables", "set", "table", "users")

    assert execplane("variables", "list", "-o", "json").json == [{"key": "table", "description": "Of the shop"}]
    execplane("variables", "set", "table", "users", "--description", "")
    assert execplane("variables", "list", "-o", "json").json == [{"key": "table", "description": ""}]
