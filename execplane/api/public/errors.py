"""Every error as JSON with the status it means: {"message", "hint"}; never a traceback, never a page."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, DataError, InterfaceError, connection
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

from execplane.contract import errors

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[errors.ExecplaneError], int], ...] = (
    (errors.NotFound, 404),
    (errors.Forbidden, 403),
    (errors.Conflict, 409),
    (errors.InvalidInput, 400),
    (errors.Unavailable, 503),
)


def answer(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER (settings.REST_FRAMEWORK)."""
    if isinstance(exc, errors.ExecplaneError):
        status = next((status for kind, status in _STATUS if isinstance(exc, kind)), 500)
        return _response(status, exc.message, exc.hint)
    if isinstance(exc, APIException | Http404 | PermissionDenied):
        return _reshaped(exc, context)
    if isinstance(exc, DataError) or (isinstance(exc, ValueError) and "NUL" in str(exc)):
        # PostgreSQL, or its driver, of a text with a NUL and of what is too long for its column.
        return _response(400, "What was sent holds a value that cannot be stored or looked for.", "")
    if isinstance(exc, DatabaseError | InterfaceError):
        connection.close()
        log.warning("the database failed a request of the API: %s", exc)
        return _response(503, "The database does not answer.", "Try again; `execplane status` tells more.")
    if isinstance(exc, RecursionError):
        return _response(400, "The JSON is nested too deeply.", "")
    log.error("a request of the API failed", exc_info=exc)
    return _response(500, "Something went wrong on our side.", "The server's log has the details.")


def _response(status: int, message: str, hint: str) -> Response:
    return Response({"message": message, "hint": hint}, status=status)


def _reshaped(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's own refusals: the same headers (WWW-Authenticate, Allow), our body."""
    response = exception_handler(exc, context)
    assert response is not None
    hint = ""
    if response.status_code == 401:
        hint = "Send a user's name and password with HTTP Basic, or log in."
    response.data = {"message": _sentence(response.data), "hint": hint}
    return response


def _sentence(data: Any) -> str:
    """`{"detail": …}` or a serializer's errors by field as one sentence."""
    if isinstance(data, dict):
        if set(data) == {"detail"}:
            return str(data["detail"])
        return " ".join(f"{name}: {_sentence(problems)}" for name, problems in data.items())
    if isinstance(data, list):
        return " ".join(str(problem) for problem in data)
    return str(data)
