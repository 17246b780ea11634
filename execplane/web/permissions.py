"""Who may do what on the pages: everyone logged in reads, staff changes things."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from execplane.actions.actor import Actor

READ = "read"

View = Callable[..., HttpResponseBase]


def may(user: AbstractBaseUser | AnonymousUser, verb: str) -> bool:
    """The one place that knows. `verb` is READ or the name of a verb in `actions` ("dags.trigger")."""
    if not (user.is_authenticated and user.is_active):
        return False
    return verb == READ or bool(getattr(user, "is_staff", False))


def actor(request: HttpRequest) -> Actor:
    """The logged-in user, as `actions` and the audit know it."""
    return Actor(name=request.user.get_username(), user_id=request.user.pk, may_act=may(request.user, "act"))


def needs(verb: str) -> Callable[[View], View]:
    """Decorator of views: 403 for those who may not."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not may(request.user, verb):
                raise PermissionDenied(f"Your account may read, but not do this ({verb}).")
            return view(request, *args, **kwargs)

        return checked

    return decorate
