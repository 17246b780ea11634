"""The nearest right name for a wrong one, so that an error can say what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """ "Did you mean …?", or the known names when none is near."""
    names = sorted(known)
    folded = {_fold(candidate): candidate for candidate in names}
    close = difflib.get_close_matches(_fold(name), folded, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {folded[close[0]]!r}?"
    return f"Known are: {', '.join(names)}." if len(names) <= 12 else ""


def _fold(name: str) -> str:
    """`node_selector` and `nodeselector` are near to `nodeSelector`."""
    return name.replace("_", "").replace("-", "").lower()
