"""Kubernetes' quantities: "500m", "1.5Gi", "2e3", as exact numbers and back."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

_QUANTITY = re.compile(r"([+-]?[0-9.]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def amount(quantity: Any) -> Decimal | None:
    """The number that "64Mi", "1e9", 1000 … stand for; None for what is no quantity."""
    found = _QUANTITY.fullmatch(str(quantity).strip())
    if found is None:
        return None
    number, unit = found.group(1), found.group(2) or ""
    try:
        return Decimal(number) * _UNITS[unit] if unit in _UNITS else Decimal(number + unit)
    except InvalidOperation:
        return None


def memory_bytes(quantity: Any) -> int | None:
    """As whole bytes."""
    found = amount(quantity)
    return None if found is None else int(found)


def mebibytes(amount_bytes: int) -> str:
    """As a quantity, rounded up."""
    return f"{-(-amount_bytes // (1 << 20))}Mi"


def shown(resource: str, quantity: Decimal) -> str:
    """For people: "2 cpu", "7.5Gi memory", "1 nvidia.com/gpu"."""
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            if quantity >= _UNITS[unit]:
                return f"{round(quantity / _UNITS[unit], 1).normalize():f}{unit} {resource}"
    return f"{round(quantity, 3).normalize():f} {resource}"
