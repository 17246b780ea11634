"""One rule for what neither database keeps: a NUL, wherever JSON hides it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from execplane.store.texts import json_has_nul, nul_replaced

TEXTS = st.lists(st.sampled_from(["\0", "\\", "u0000", "a", "é"]), max_size=5).map("".join)
VALUES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def nuls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(nuls(key) or nuls(one) for key, one in value.items())
    return any(nuls(one) for one in value) if isinstance(value, list) else "\0" in value


@given(VALUES)
def test_a_nul_is_found_in_json_and_nothing_is_taken_for_one(value: Any) -> None:
    assert json_has_nul(json.dumps(value).encode()) is nuls(value)
    assert json_has_nul(msgspec.json.encode(value)) is nuls(value)


@given(VALUES)
def test_what_is_replaced_has_none_left_and_is_else_the_same(value: Any) -> None:
    replaced = nul_replaced(value)

    assert not nuls(replaced)
    assert nuls(value) or replaced == value
