"""The reference of all parameters is what the operators' signatures say, and is written down as it is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from execplane.sdk import (
    BaseOperator,
    BaseSensorOperator,
    operator_parameters,
    operators,
    reference,
    sensors,
)

REPOSITORY = Path(__file__).parents[3]


def find_class(name: str) -> type[BaseOperator]:
    for module in (operators, sensors):
        try:
            found: type[BaseOperator] = getattr(module, name)
            return found
        except AttributeError:
            continue
    raise AssertionError(name)


@pytest.mark.parametrize("name", sorted(operator_parameters.CLASSES))
def test_the_rows_of_each_operator_are_its_signature(name: str) -> None:
    cls = find_class(name)
    expected: dict[str, Any] = {}
    for base in cls.__mro__:
        if base in (BaseOperator, object) or "__init__" not in base.__dict__:
            continue
        for p in list(inspect.signature(base.__dict__["__init__"]).parameters.values())[1:]:
            if p.kind is p.KEYWORD_ONLY:
                expected.setdefault(p.name, None if p.default is p.empty else p.default)
    rows = {row.name: row.default for row in operator_parameters.CLASSES[name]}
    assert rows == expected


def test_every_operator_that_can_be_imported_is_in_the_reference() -> None:
    served = set(operators._WHERE) | set(sensors._WHERE)
    assert served - set(operator_parameters.CLASSES) == {"DummyOperator", "PokeReturnValue"}
    assert issubclass(find_class("PythonSensor"), BaseSensorOperator)


def test_the_reference_is_up_to_date() -> None:
    written = (REPOSITORY / "docs" / "sdk-parameters.md").read_text()
    assert written == reference.render(), "run: python -m execplane.sdk.reference > docs/sdk-parameters.md"
