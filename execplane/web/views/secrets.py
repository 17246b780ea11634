"""Variables and Connections: named, described, set and deleted. What they hold is encrypted and never shown again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from execplane.actions import secrets as verbs
from execplane.contract.errors import ExecplaneError, InvalidInput
from execplane.store.queries import secrets as queries
from execplane.web import rendering, wiring
from execplane.web.forms import FormField, parse_json
from execplane.web.permissions import actor, needs

KEPT = "Leave it empty to keep what is stored."
AGAIN = "Type it again: it was not sent back."
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
_SEALED = {
    "value": "Make the value empty",
    "password": "Remove the stored password",
    "extra": "Remove the stored extra",
}
"""What goes one way only, and the words of the box that empties it."""
_STRIPPED = ("name", "conn_type", "host", "port", "schema", "login")


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
        kept = bool(name) and _is_kept("value", given)
        verbs.set_variable(
            actor(request),
            wiring.secrets(),
            name or given["name"],
            None if kept else given["value"],
            given["description"],
            new=not name,
        )

    return _set(request, "Variable", "variables", _VARIABLE, name, known, carry_out)


@needs("connections.set")
@ask
def set_connection(request: HttpRequest) -> HttpResponse:
    name = request.GET.get("name", "")
    known = _facts(queries.connection(name)) if name else {}

    def carry_out(given: dict[str, str]) -> None:
        fields: dict[str, Any] = {**given, "port": _port(given["port"])}
        fields["password"] = given["password"] or None
        fields["extra"] = _extra(given["extra"]) or None
        keep = [one for one in ("password", "extra") if name and _is_kept(one, given)]
        new_name = name or given["name"]
        verbs.set_connection(actor(request), wiring.secrets(), new_name, fields, keep=keep, new=not name)

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
        given = _given(request, wanted)
        try:
            carry_out(given)
            return rendering.done(request, f"The {kind} {name or given['name']} is set.", reverse(back))
        except ExecplaneError as error:
            refusal = error
    context = {
        "title": f"Change {name}" if name else f"New {kind}",
        "fields": _fields(wanted, given, changing=bool(name), refused=refusal is not None),
        "refusal": refusal,
        "action": request.get_full_path(),
        "back": reverse(back),
    }
    refused = refusal is not None and not rendering.is_htmx(request)
    return rendering.dialog(request, "web/secret.html", context, status=422 if refused else 200)


def _facts(row: queries.VariableRow | queries.ConnectionRow) -> dict[str, str]:
    """What may stand in a form again."""
    return {name: "" if value is None else str(value) for name, value in vars(row).items()}


def _given(request: HttpRequest, wanted: tuple[Field, ...]) -> dict[str, str]:
    """What was typed. A secret stays as it is but for the line ends, which browsers send as CRLF."""
    given = {key: request.POST.get(key, "").replace("\r\n", "\n") for key, *_ in wanted}
    emptied = {f"empty.{key}": request.POST.get(f"empty.{key}", "") for key in given if key in _SEALED}
    return {key: text.strip() if key in _STRIPPED else text for key, text in given.items()} | emptied


def _is_kept(key: str, given: dict[str, str]) -> bool:
    """Whether what is stored stays: nothing was typed, and it is not to be emptied either."""
    if given[key] and given[f"empty.{key}"]:
        raise InvalidInput(f"Either type a new {key}, or tick “{_SEALED[key]}”: not both.")
    return not given[key] and not given[f"empty.{key}"]


def _fields(wanted: tuple[Field, ...], given: dict[str, str], *, changing: bool, refused: bool) -> list[FormField]:
    found = []
    for name, kind, title, hint in wanted:
        if name not in _SEALED:
            if not (changing and name == "name"):
                text, needed = given.get(name, ""), name == "name"
                found.append(
                    FormField(name=name, kind=kind, title=title, description=hint, value=text, required=needed)
                )
            continue
        # It is never sent back, not even where the rest of a refused form is.
        hints = [hint, *([KEPT] if changing else []), *([AGAIN] if refused and given.get(name) else [])]
        found.append(FormField(name=name, kind=kind, title=title, description=" ".join(hints)))
        if changing:
            box = f"empty.{name}"
            found.append(FormField(name=box, kind="checkbox", title=_SEALED[name], checked=bool(given.get(box))))
    return found


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise InvalidInput(f"The port {text[:20]!r} is not a number from 0 to 65535.")
    return int(text)


def _extra(text: str) -> str:
    if not text.strip():
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
