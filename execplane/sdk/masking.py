"""Secrets that a task has read, so that rendered fields and log lines can show *** in their place."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, quote_plus

from execplane.contract.secret_names import is_sensitive

_SHORTEST = 4
_known: set[str] = set()


def learn(secret: str | None) -> None:
    """From now on `mask` hides `secret`. Very short ones are left alone: they would blot out half the text."""
    if secret and len(secret) >= _SHORTEST:
        # Also as it stands in an address, which is how a Connection's URI carries it.
        _known.update({secret, quote(secret, safe=""), quote_plus(secret)})


def learn_variable(key: str, text: str) -> None:
    """Hide the Variable's text when its key says that it is secret."""
    if is_sensitive(key):
        learn(text)


def mask(text: str) -> str:
    """`text` with every known secret replaced, the longest first."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def mask_value(value: Any) -> Any:
    """The same, inside lists and dicts; values under a sensitive key go whole."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, (list, tuple)):
        return [mask_value(entry) for entry in value]
    if isinstance(value, dict):
        return {
            key: "***" if isinstance(key, str) and is_sensitive(key) and entry else mask_value(entry)
            for key, entry in value.items()
        }
    return value


def forget() -> None:
    """Drop what was learned, where one process runs what has nothing to do with each other (tests)."""
    _known.clear()
