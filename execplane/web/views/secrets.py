"""Variables and Connections: named, described, set and deleted. What they hold is encrypted and never shown again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from execplane.actions import secrets as verbs
from execplane.contract.errors import ExecplaneError, InvalidInput
from execplane.store import secrets as stored
from execplane.store.queries import secrets as queries
from execplane.web import rendering, wiring
from execplane.web.forms import FormField, parse_json
from execplane.web.permissions import actor, needs

MOST_NAME_CHARS = 250
KEPT = "Leave it empty to keep what is stored."
ask = require_http_methods(["GET", "POST"])
Field = tuple[str, str, str, str]
"""Name, kind, title, hint."""
_VARIABLE: tuple[Field, ...] = (
    ("name", "text", "Key", ""),
    ("value", "textarea", "Value", "Text or JSON. It is stored encrypted; nobody sees it again here."),
    ("description", "text", "Description", ""),
)
_CONNECTION: tuple[Field, ...] = (
    ("name", "text", "Connection id", ""),
    ("conn_type", "text", "Type", "postgres, http, aws …"),
    ("host", "text", "Host", ""),
    ("port", "integer", "Port", ""),
    ("schema", "text", "Schema", "The database's name, for most types."),
    ("login", "text", "Login", ""),
    ("password", "password", "Password", "It is stored encrypted; nobody sees it again here."),
    ("extra", "json", "Extra", "An object, stored encrypted."),
    ("description", "text", "Description", ""),
)
_SEALED = ("value", "password", "extra")


@needs("variables.list")
def variables(request: HttpRequest) -> HttpResponse:
    after = request.GET.get("after", "")
    context = {"page": queries.variables(after=after), "after": after, "topics": ""}
    return rendering.show(request, "web/variables.html", context)


@needs("connections.list")
def connections(request: HttpRequest) -> HttpResponse:
    after = request.GET.get("after", "")
    context = {"page": queries.connections(after=after), "after": after, "topics": ""}
    return rendering.show(request, "web/connections.html", context)


@needs("variables.set")
@ask
def set_variable(request: HttpRequest) -> HttpResponse:
    """?name= says which one is changed; without it a new one is made."""
    name = request.GET.get("name", "")
    known = _facts(queries.variable(name)) if name else {}

    def carry_out(given: dict[str, str]) -> None:
        box = wiring.secrets()
        value = given["value"]
        if name and not value:
            value = stored.variable(box, name) or ""
        verbs.set_variable(actor(request), box, name or given["name"], value, given["description"])

    return _set(request, "Variable", "variables", _VARIABLE, name, known, carry_out)


@needs("connections.set")
@ask
def set_connection(request: HttpRequest) -> HttpResponse:
    name = request.GET.get("name", "")
    known = _facts(queries.connection(name)) if name else {}

    def carry_out(given: dict[str, str]) -> None:
        box = wiring.secrets()
        before = json.loads(stored.connection_json(box, name) or "{}") if name else {}
        fields: dict[str, Any] = {key: text for key, text in given.items() if key != "name"}
        fields["port"] = _port(given["port"])
        fields["password"] = given["password"] or before.get("password")
        fields["extra"] = _extra(given["extra"]) or before.get("extra")
        verbs.set_connection(actor(request), box, name or given["name"], fields)

    return _set(request, "Connection", "connections", _CONNECTION, name, known, carry_out)


def _set(
    request: HttpRequest,
    kind: str,
    back: str,
    wanted: tuple[Field, ...],
    name: str,
    known: dict[str, str],
    carry_out: Callable[[dict[str, str]], None],
) -> HttpResponse:
    given = known
    refusal: ExecplaneError | None = None
    if request.method == "POST":
        # PostgreSQL keeps no NUL in text.
        given = {key: request.POST.get(key, "").replace("\0", "").strip() for key, *_ in wanted}
        try:
            _check_name(kind, name or given["name"])
            carry_out(given)
            return rendering.done(request, f"The {kind} {name or given['name']} is set.", reverse(back))
        except ExecplaneError as error:
            refusal = error
    context = {
        "title": f"Change {name}" if name else f"New {kind}",
        "fields": [_field(one, given, bool(name)) for one in wanted if not (name and one[0] == "name")],
        "refusal": refusal,
        "action": request.get_full_path(),
        "back": reverse(back),
    }
    refused = refusal is not None and not rendering.is_htmx(request)
    return rendering.dialog(request, "web/secret.html", context, status=422 if refused else 200)


def _facts(row: queries.VariableRow | queries.ConnectionRow) -> dict[str, str]:
    """What may stand in a form again."""
    return {name: "" if value is None else str(value) for name, value in vars(row).items()}


def _field(one: Field, given: dict[str, str], changing: bool) -> FormField:
    name, kind, title, hint = one
    if changing and name in _SEALED:
        hint = f"{hint} {KEPT}"
    # A password goes one way only, even where the rest of a refused form comes back.
    value = "" if kind == "password" else given.get(name, "")
    return FormField(name=name, kind=kind, title=title, description=hint, value=value, required=name == "name")


def _check_name(kind: str, name: str) -> None:
    if not name or len(name) > MOST_NAME_CHARS:
        what = "key" if kind == "Variable" else "id"
        raise InvalidInput(f"A {kind}'s {what} has 1 to {MOST_NAME_CHARS} characters.")


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise InvalidInput(f"The port {text!r} is not a number from 0 to 65535.")
    return int(text)


def _extra(text: str) -> str:
    if not text:
        return ""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InvalidInput(f"Extra: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("Extra must be a JSON object.", hint='For example {"region": "eu-west-1"}.')
    return text


@needs("variables.delete")
@ask
def delete_variable(request: HttpRequest) -> HttpResponse:
    name = request.GET.get("name", "")
    queries.variable(name)
    return _delete(request, "Variable", "variables", name, lambda: verbs.delete_variable(actor(request), name))


@needs("connections.delete")
@ask
def delete_connection(request: HttpRequest) -> HttpResponse:
    name = request.GET.get("name", "")
    queries.connection(name)
    return _delete(request, "Connection", "connections", name, lambda: verbs.delete_connection(actor(request), name))


def _delete(request: HttpRequest, kind: str, back: str, name: str, carry_out: Callable[[], None]) -> HttpResponse:
    if request.method == "POST":
        carry_out()
        return rendering.done(request, f"The {kind} {name} is deleted.", reverse(back))
    context = {
        "title": f"Delete {name}",
        "text": f"Tasks that read the {kind} fail from then on. What it holds cannot be brought back.",
        "label": f"Delete {kind}",
        "back": reverse(back),
        "danger": True,
        "action": request.get_full_path(),
    }
    return rendering.dialog(request, "web/confirm.html", context)
