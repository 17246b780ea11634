"""Variables and Connections on pages: set and deleted by staff, and what they hold never comes back."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet
from django.test import Client
from django.urls import reverse

from execplane.store import secrets
from execplane.store.models import Audit, Connection, User, Variable
from execplane.store.secrets import SecretBox
from execplane.web import wiring
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
CONNECTION = {
    "name": "shop",
    "conn_type": "postgres",
    "host": "db.example",
    "port": "5432",
    "schema": "orders",
    "login": "reader",
    "password": "s3cret-word",
    "extra": '{"sslmode": "s3cret-mode"}',
    "description": "The shop's database",
}


@pytest.fixture
def box() -> SecretBox:
    return SecretBox([Fernet.generate_key().decode()])


@pytest.fixture
def parts(clock: TestClock, box: SecretBox) -> wiring.Parts:
    return wiring.Parts(clock=clock, secrets=box)


def test_a_variable_is_set_changed_and_deleted_and_its_value_is_never_shown(staff: Client, box: SecretBox) -> None:
    made = staff.post(reverse("variable-set"), {"name": "token", "value": "s3cret-word", "description": "For the shop"})
    assert made["Location"] == reverse("variables")
    assert secrets.variable(box, "token") == "s3cret-word"

    change = reverse("variable-set") + "?name=token"
    pages = [staff.get(reverse("variables")), staff.get(change), staff.get(reverse("audit"))]
    for page in pages:
        assert "token" in page.content.decode()
        assert "s3cret" not in page.content.decode()

    staff.post(change, {"value": "", "description": "Of the shop"})
    assert secrets.variable(box, "token") == "s3cret-word"
    assert Variable.objects.get(key="token").description == "Of the shop"
    staff.post(change, {"value": "another"})
    assert secrets.variable(box, "token") == "another"

    delete = reverse("variable-delete") + "?name=token"
    assert "Delete token" in staff.get(delete).content.decode()
    staff.post(delete)
    assert not Variable.objects.exists()
    assert list(Audit.objects.order_by("id").values_list("actor", "action", "object")) == [
        *[("ada", "set", "variable:token")] * 3,
        ("ada", "delete", "variable:token"),
    ]


def test_a_connection_s_password_and_extra_are_kept_unless_given_anew(staff: Client, box: SecretBox) -> None:
    staff.post(reverse("connection-set"), CONNECTION)

    change = reverse("connection-set") + "?name=shop"
    for page in (staff.get(reverse("connections")), staff.get(change)):
        assert "db.example" in page.content.decode()
        assert "s3cret" not in page.content.decode()
    staff.post(change, {**CONNECTION, "host": "db2.example", "password": "", "extra": ""})

    kept = json.loads(secrets.connection_json(box, "shop") or "")
    assert (kept["host"], kept["port"]) == ("db2.example", 5432)
    assert (kept["password"], kept["extra"]) == ("s3cret-word", '{"sslmode": "s3cret-mode"}')


def test_a_new_one_never_replaces_another_of_its_name(staff: Client, box: SecretBox) -> None:
    secrets.set_variable(box, "token", "s3cret-word", "For the shop")
    secrets.set_connection(box, "shop", {"host": "db.example", "password": "s3cret-word"})

    variable = staff.post(reverse("variable-set"), {"name": "token", "value": "another"})
    connection = staff.post(reverse("connection-set"), {**CONNECTION, "password": "another"})

    assert variable.status_code == connection.status_code == 422
    assert "There is already a Variable token." in variable.content.decode()
    assert "There is already a Connection shop." in connection.content.decode()
    assert secrets.variable(box, "token") == "s3cret-word"
    assert json.loads(secrets.connection_json(box, "shop") or "")["password"] == "s3cret-word"
    assert not Audit.objects.exists()


def test_a_secret_is_kept_as_it_was_typed_and_only_names_lose_their_edges(staff: Client, box: SecretBox) -> None:
    staff.post(reverse("variable-set"), {"name": " pem ", "value": "  a\r\nb\r\n"})
    staff.post(reverse("connection-set"), {**CONNECTION, "host": " db.example ", "password": " word "})

    assert secrets.variable(box, "pem") == "  a\nb\n"
    found = json.loads(secrets.connection_json(box, "shop") or "")
    assert (found["host"], found["password"]) == ("db.example", " word ")


def test_a_description_can_be_cleared_and_a_secret_emptied_on_purpose(staff: Client, box: SecretBox) -> None:
    secrets.set_variable(box, "token", "s3cret-word", "For the shop")
    staff.post(reverse("connection-set"), CONNECTION)
    change_token, change_shop = reverse("variable-set") + "?name=token", reverse("connection-set") + "?name=shop"
    kept = {**CONNECTION, "password": "", "extra": ""}
    assert "Remove the stored password" in staff.get(change_shop).content.decode()

    staff.post(change_token, {"value": "", "description": ""})
    assert (Variable.objects.get().description, secrets.variable(box, "token")) == ("", "s3cret-word")
    both = staff.post(change_token, {"value": "another", "empty.value": "1"})
    assert (both.status_code, secrets.variable(box, "token")) == (422, "s3cret-word")
    staff.post(change_token, {"value": "", "empty.value": "1"})
    assert secrets.variable(box, "token") == ""
    staff.post(change_shop, {**kept, "empty.password": "1"})
    found = json.loads(secrets.connection_json(box, "shop") or "")
    assert (found["password"], found["extra"]) == (None, CONNECTION["extra"])


def test_what_a_lost_key_sealed_can_be_set_again(staff: Client, box: SecretBox) -> None:
    lost = SecretBox([Fernet.generate_key().decode()])
    secrets.set_variable(lost, "token", "s3cret-word")
    secrets.set_connection(lost, "shop", {"host": "db.example", "password": "s3cret-word"})
    change = reverse("connection-set") + "?name=shop"

    half = staff.post(change, {**CONNECTION, "extra": ""})
    assert half.status_code == 422
    assert "or set the value again" in half.content.decode()
    staff.post(change, {**CONNECTION, "extra": "", "empty.extra": "1"})
    staff.post(reverse("variable-set") + "?name=token", {"value": "", "description": "Of the shop"})

    found = json.loads(secrets.connection_json(box, "shop") or "")
    assert (found["password"], found["extra"]) == ("s3cret-word", None)
    assert Variable.objects.get().description == "Of the shop"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "A Connection's id has 1 to 250 characters"),
        ({"name": "x" * 251}, "1 to 250 characters"),
        ({"conn_type": "x" * 101}, "A Connection's conn_type has at most 100 characters"),
        ({"login": "x" * 501}, "login has at most 500 characters"),
        ({"port": "many"}, "is not a number from 0 to 65535"),
        ({"port": "70000"}, "is not a number from 0 to 65535"),
        ({"port": "1" * 5000}, "is not a number from 0 to 65535"),
        ({"extra": "{"}, "Extra: Not valid JSON"),
        ({"extra": "[" * 100_000}, "it is nested too deeply"),
        ({"extra": '["s3cret-mode"]'}, "Extra must be a JSON object"),
    ],
)
def test_a_refused_connection_says_why_and_sends_no_secret_back(
    staff: Client, fields: dict[str, str], words: str
) -> None:
    answer = staff.post(reverse("connection-set"), {**CONNECTION, **fields})

    body = answer.content.decode()
    assert answer.status_code == 422
    assert words in body.replace("&#x27;", "'")
    assert "db.example" in body
    assert "s3cret" not in body
    assert "[[[" not in body
    assert not Connection.objects.exists()


def test_a_refused_variable_does_not_send_its_value_back(staff: Client) -> None:
    body = staff.post(reverse("variable-set"), {"name": "", "value": "s3cret-word", "description": "For"}).content

    assert b"s3cret" not in body
    assert b'value="For"' in body


def test_readers_see_neither_names_nor_forms(db: None, box: SecretBox) -> None:
    secrets.set_variable(box, "token", "s3cret-word")
    client = Client()
    client.force_login(User.objects.create_user("bob"))

    for name in ("variables", "variable-set", "variable-delete", "connections", "connection-set", "connection-delete"):
        assert client.get(reverse(name) + "?name=token").status_code == 403
        assert client.post(reverse(name) + "?name=token", {"value": "x"}).status_code == 403
    assert 'href="/variables"' not in client.get(reverse("dags")).content.decode()
    assert secrets.variable(box, "token") == "s3cret-word"


def test_what_does_not_exist_cannot_be_changed_or_deleted(staff: Client) -> None:
    for name in ("variable-set", "variable-delete", "connection-set", "connection-delete"):
        assert staff.get(reverse(name) + "?name=nope").status_code == 404


def test_a_dialog_s_refusal_is_shown_in_the_dialog(staff: Client) -> None:
    answer = staff.post(reverse("variable-set"), {"name": "", "value": "x"}, headers=HTMX)

    assert answer.status_code == 200
    assert "<html" not in answer.content.decode()
    assert 'role="alert"' in answer.content.decode()
