"""The catalogue keeps to its rules, its document is current, and the sources send exactly what it declares."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from execplane.metrics.catalogue import CATALOGUE, SECTIONS, Kind, Metric
from execplane.metrics.reference import render

REPOSITORY = Path(__file__).parents[3]
_KINDS = {
    "count": Kind.COUNTER,
    "observe": Kind.HISTOGRAM,
    "set": Kind.GAUGE,
    "replace": Kind.GAUGE,
    "forget": Kind.GAUGE,
}
_FORBIDDEN = {"run_id", "pod", "pod_name", "try", "try_number", "attempt", "attempt_id", "attempt_no", "map_index"}
metrics = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))


def test_no_name_is_declared_twice() -> None:
    assert len(CATALOGUE) == sum(len(section) for section in SECTIONS.values())


@metrics
def test_names_and_labels_follow_prometheus_rules(metric: Metric) -> None:
    assert re.fullmatch(r"execplane_[a-z][a-z_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert not metric.unit or metric.name.endswith(f"_{metric.unit}")
    assert not re.search("_(ms|milliseconds|minutes|kb|mb)(_|$)", metric.name)
    assert all(re.fullmatch("[a-z][a-z_]*", label) for label in metric.takes)
    assert not _FORBIDDEN & set(metric.labels)
    assert metric.help.endswith(".")
    assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))


@metrics
def test_airflow_names_are_made_from_what_callers_give(metric: Metric) -> None:
    for one in metric.airflow:
        assert set(re.findall("{(.*?)}", one.name)) <= metric.takes
        assert {label for label, _ in one.where} <= metric.takes
        assert metric.kind is Kind.HISTOGRAM or not one.counts


def test_the_document_is_up_to_date() -> None:
    written = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert written == render(), "run: python -m execplane.metrics > docs/metrics.md"


@dataclass(frozen=True)
class Call:
    where: str
    verb: str
    name: str | None
    labels: frozenset[str | None]


def calls() -> Iterator[Call]:
    """Every `metrics.current().verb(…)` in the sources; the verb is called there and then, so that it can be read."""
    for path in sorted((REPOSITORY / "execplane").rglob("*.py")):
        text = path.read_text()
        if "metrics.current()" not in text or path.parent.name == "metrics":
            continue
        nodes = list(ast.walk(ast.parse(text)))
        asked = [node for node in nodes if _is_emitter(node)]
        sent = [node for node in nodes if isinstance(node, ast.Call) and _is_emitter(getattr(node.func, "value", None))]
        assert len(asked) == len(sent), path
        yield from (_call(path, node) for node in sent)


def _is_emitter(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node) == "metrics.current()"


def _call(path: Path, call: ast.Call) -> Call:
    assert isinstance(call.func, ast.Attribute)
    first = call.args[0] if call.args else None
    name = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    where = f"{path.relative_to(REPOSITORY)}:{call.lineno}"
    return Call(where, call.func.attr, name, frozenset(keyword.arg for keyword in call.keywords))


FOUND = list(calls())


@pytest.mark.parametrize("call", FOUND, ids=lambda call: f"{call.where} {call.name}")
def test_every_call_in_the_sources_fits_the_catalogue(call: Call) -> None:
    if call.verb == "forget" and call.name is None:
        return
    assert call.name in CATALOGUE
    metric = CATALOGUE[call.name]
    assert metric.kind is _KINDS[call.verb]
    if call.verb in ("count", "observe", "set"):
        assert call.labels == metric.takes


def test_every_metric_is_emitted_somewhere() -> None:
    sent = {call.name for call in FOUND if call.verb != "forget"}
    assert set(CATALOGUE) - sent == {"execplane_build_info"}
