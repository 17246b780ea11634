"""Writes docs/why-pending.md from the catalogue: `python -m execplane.pods.pending_reference > docs/why-pending.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from execplane.contract.pending import CATALOGUE, Source
from execplane.pods.pending import READ_CLAIMS, READ_EVENTS, READ_NODES, READ_PODS

_INTRODUCTION = """\
# Why pending

Generated from `execplane/contract/pending.py` by
`python -m execplane.pods.pending_reference > docs/why-pending.md`; do not edit.

Why does this task not run? One sentence says what holds it, the next what unblocks it; everything else that holds it
stands below. It is asked

- on the page of an attempt, and of a task instance that has none;
- by `execplane attempts why ATTEMPT_ID` and `execplane tasks why DAG_ID RUN_ID TASK_ID`;
- at `/api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dependencies` (Airflow's address and shape).

The scheduler's and the driver's part come from the very rules that decide, asked anew. The cluster is asked only when
somebody asks: for the pod, its events, and where they matter its claims and the nodes; at most for six seconds, and
the answer is kept for three (nodes: fifteen). What could not be read is said with the sentence. The driver's loop asks
for none of this.

## What reading needs

| read | allowed by | without it |
|---|---|---|
"""

_READS = (
    ("the pod", READ_PODS, "the last status that the watch brought is used"),
    ("its events", READ_EVENTS, "the autoscaler, volumes that cannot be mounted and pulls under way stay unknown"),
    ("its claims", READ_CLAIMS, "which PersistentVolumeClaim is not bound, and why, stays unknown"),
    ("nodes", READ_NODES, "the names of taints, and whether any node is large enough, stay unknown"),
)
_TITLES = {
    Source.SCHEDULER: "The scheduler: before there is an attempt",
    Source.DRIVER: "The driver: before it is launched",
    Source.CLUSTER: "The cluster: once its pod is sent",
}


def lines() -> Iterable[str]:
    """The document, line by line."""
    yield _INTRODUCTION.rstrip("\n")
    yield from (f"| {what} | {rule} | {without} |" for what, rule, without in _READS)
    yield "\n## Codes\n"
    yield "Codes are stable. Within all of them the first one that holds is the sentence; the order is the tables'."
    for source in Source:
        yield f"\n### {_TITLES[source]}\n"
        yield "| code | means | what unblocks it |"
        yield "|---|---|---|"
        for code, meaning in CATALOGUE.items():
            if meaning.source is source:
                yield f"| `{code}` | {meaning.means} | {meaning.unblocks} |"


def render() -> str:
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
