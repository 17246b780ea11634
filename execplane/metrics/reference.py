"""`docs/metrics.md` from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable

from execplane.metrics.catalogue import SECTIONS, AirflowName, Metric

_INTRODUCTION = """\
# Metrics

Generated from `execplane/metrics/catalogue.py` by `python -m execplane.metrics > docs/metrics.md`; do not edit.

- **Prometheus**: `GET /metrics` of each web server, without a login (`EXECPLANE_METRICS__PROMETHEUS=false` turns it
  off). A process says what it did itself; the gauges of the ledger come from the one process that holds the lease of
  the loop `gauges`. `process_*` is about the process.
- **statsd**: set `EXECPLANE_METRICS__STATSD_HOST` (and `…_PORT`, 8125; `…_PREFIX`, `airflow`). Airflow's names are
  used where Airflow has the metric, timers in milliseconds; the others are sent as `execplane.<name>.<label values>`.

A label never holds a run id, a pod's name or a try.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _airflow(one: AirflowName) -> str:
    where = " and ".join(f"{label} = {value}" for label, value in one.where)
    notes = ", ".join(note for note in ("counted" if one.counts else "", f"where {where}" if where else "") if note)
    return f"`{one.name}`" + (f" ({notes})" if notes else "")


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    airflow = ", ".join(_airflow(one) for one in metric.airflow)
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {_cell(metric.help)} | {airflow} |"


def lines() -> Iterable[str]:
    """The document, line by line."""
    yield _INTRODUCTION
    for title, metrics in SECTIONS.items():
        yield f"## {title}\n"
        yield "| metric | kind | unit | labels | meaning | Airflow's statsd name |"
        yield "|---|---|---|---|---|---|"
        yield from (_row(metric) for metric in metrics)
        yield ""


def render() -> str:
    return "\n".join(lines()).rstrip("\n") + "\n"
