"""HTTP Basic for scripts, which send their password with every call: checking one is slow on purpose, so one that was
right is remembered for a while.

What is remembered is a keyed digest of it and of the stored hash, in this process only: a changed password, like a
user who is switched off, counts from the next call on.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from typing import Any

from django.contrib.auth import get_user_model
from rest_framework.authentication import BasicAuthentication
from rest_framework.request import Request

from execplane.contract.clock import Clock, SystemClock

REMEMBERED_SECONDS = 300.0
_MOST_REMEMBERED = 1000


class RememberedPasswords:
    """Digests of right passwords, the newest few, each until its time is over. For any thread."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, password: str, stored: str) -> bool:
        with self._lock:
            return self._until.get(self._digest(password, stored), 0.0) > self._clock.monotonic()

    def remember(self, password: str, stored: str) -> None:
        digest = self._digest(password, stored)
        with self._lock:
            self._until[digest] = self._clock.monotonic() + REMEMBERED_SECONDS
            self._until.move_to_end(digest)
            while len(self._until) > _MOST_REMEMBERED:
                self._until.popitem(last=False)

    def _digest(self, password: str, stored: str) -> bytes:
        # The stored hash has a salt of its own, so this is one user's.
        return hmac.digest(self._key, f"{stored}\0{password}".encode(), hashlib.sha256)


remembered = RememberedPasswords(clock=SystemClock())


class BasicPassword(BasicAuthentication):
    """REST framework's, but a password that was right a moment ago is not hashed again."""

    def authenticate_credentials(self, userid: str, password: str, request: Request | None = None) -> tuple[Any, None]:
        users = get_user_model()
        known = users.objects.filter(**{users.USERNAME_FIELD: userid}, is_active=True).first()
        if known is not None and remembered.knows(password, known.password):
            return known, None
        user, _ = super().authenticate_credentials(userid, password, request)
        remembered.remember(password, user.password)
        return user, None
