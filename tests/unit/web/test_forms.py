"""From params to fields and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.dag import ParamSpec
from execplane.web import forms


@pytest.mark.parametrize(
    ("param", "kind"),
    [
        (ParamSpec(default="x", schema={"type": "string"}), "text"),
        (ParamSpec(default=None, schema={"type": ["null", "string"]}), "text"),
        (ParamSpec(default="x", schema={"type": "string", "format": "multiline"}), "textarea"),
        (ParamSpec(default="2026-01-01", schema={"type": "string", "format": "date"}), "date"),
        (ParamSpec(default=None, schema={"type": "string", "format": "date-time"}), "datetime"),
        (ParamSpec(default=1, schema={"type": "integer"}), "integer"),
        (ParamSpec(default=1.5, schema={"type": "number"}), "number"),
        (ParamSpec(default=True, schema={"type": "boolean"}), "checkbox"),
        (ParamSpec(default="a", schema={"enum": ["a", 2]}), "select"),
        (ParamSpec(default=["a"], schema={"type": "array", "items": {"type": "string"}}), "lines"),
        (ParamSpec(default=[1], schema={"type": "array"}), "json"),
        (ParamSpec(default={}, schema={"type": "object"}), "json"),
        (ParamSpec(default=5), "integer"),
        (ParamSpec(default=None), "text"),
        (ParamSpec(default=5, schema={"const": 5}), "const"),
    ],
)
def test_a_param_s_type_chooses_its_field(param: ParamSpec, kind: str) -> None:
    assert forms.fields({"p": param})[0].kind == kind


VALUES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])),
    st.lists(st.integers()),
    st.dictionaries(st.text(max_size=5), st.integers()),
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES))
def test_a_form_sent_as_it_was_shown_means_the_defaults(defaults: dict[str, Any]) -> None:
    params = {name: ParamSpec(default=value) for name, value in defaults.items()}
    sent = {
        field.name: field.value or "1" if field.kind == "checkbox" else field.value
        for field in forms.fields(params)
        if field.kind != "checkbox" or field.checked
    }

    assert forms.read(params, sent) == (defaults, {})


def test_what_is_wrong_is_said_beside_its_field() -> None:
    params = {"n": ParamSpec(default=1), "j": ParamSpec(default={})}

    conf, errors = forms.read(params, {"param.n": "one", "param.j": "{"})

    assert conf == {}
    assert errors["n"] == "'one' is not a whole number."
    assert errors["j"].startswith("Not valid JSON")


def test_an_empty_field_of_a_nullable_param_means_null() -> None:
    params = {"n": ParamSpec(default=1, schema={"type": ["null", "integer"]})}

    assert forms.read(params, {"param.n": ""}) == ({"n": None}, {})
