"""Text that both databases keep: PostgreSQL takes a NUL neither in a text nor within JSON."""

from __future__ import annotations

import re
from typing import Any

NUL = "\0"
_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped backslash before "u0000" is text."""


def clean(text: str, limit: int = 10_000) -> str:
    """Without NULs, and not longer than its column."""
    return without_nul(text)[:limit]


def without_nul(text: str) -> str:
    return text.replace(NUL, "")


def json_has_nul(encoded: bytes) -> bool:
    """Whether a text or a key of this JSON has one."""
    return _NUL_IN_JSON.search(encoded) is not None


def nul_replaced(value: Any) -> Any:
    """The same JSON value with a replacement character for each NUL: what cannot be kept stays visible."""
    if isinstance(value, str):
        return value.replace(NUL, "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {nul_replaced(key): nul_replaced(one) for key, one in value.items()}
    if isinstance(value, list):
        return [nul_replaced(one) for one in value]
    return value
