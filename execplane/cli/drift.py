"""`execplane pods reconcile`, `decide` and `release`: drift at a terminal.

With --dry-run this process lists the pods itself, twice, and changes nothing: it works with everything else down but
the database and the API server. Without it the running driver is asked to look, because it alone holds the lease under
which repairs are made; this process then tells what the driver found and did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from execplane.cli.follow import woken_by
from execplane.cli.output import Output, remark, show_done, show_rows
from execplane.cli.session import acting, reading
from execplane.contract.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from execplane.compose import Deployment
    from execplane.kube.client import Client
    from execplane.pods.reconcile import Finding
    from execplane.store.queries.drift import DriftRow

_COLUMNS = ("id", "kind", "namespace", "pod_name", "found", "follows")
_DRY_COLUMNS = _COLUMNS[1:]
_POLL_SECONDS = 0.5
_MOST = 2000
"""Findings that are shown."""
_ANSWER_SECONDS = 5.0
"""How long repairs that are under way are waited for."""


def dry_run(output: Output, *, between_seconds: float) -> None:
    """Two looks of our own, what both found, and what would follow."""
    with reading() as deployment:
        rows, unseen = _found_twice(deployment, _demand_pods(deployment), between_seconds)
    if unseen:
        remark(f"Not seen: {unseen}")
    show_rows(rows, output, _DRY_COLUMNS, empty="No drift: ledger and cluster agree.")


def ask_driver(output: Output, *, timeout_seconds: float) -> None:
    """Have the driver look, wait until it has looked twice, and show what it found and what was done since."""
    with acting(listen=True) as session, woken_by(session.deployment, "drift") as wake:
        from execplane.actions import drift as verbs
        from execplane.executors.driver.reconciling import SECOND_LOOK_SECONDS
        from execplane.store.queries import drift

        clock = session.deployment.clock
        executors = _demand_pods(session.deployment)
        until = clock.monotonic() + timeout_seconds
        open_before = {row.id for row in drift.findings(limit=_MOST).rows}
        newest = max((row.id for row in drift.findings(resolved=True, limit=1).rows), default=0)

        def wait_for(what: Callable[[], bool], seconds: float) -> bool:
            stop = min(until, clock.monotonic() + seconds)
            while not (answer := what()) and clock.monotonic() < stop:
                wake.wait(_POLL_SECONDS)
                wake.clear()
            return answer

        # The first look may only suspect; the second one confirms, and its repairs take a moment.
        for pause in (0.0, SECOND_LOOK_SECONDS):
            wait_for(lambda: False, pause)
            before = _looked_at(executors)
            verbs.look(session.actor, executors, clock=clock)
            if not wait_for(partial(_all_newer, executors, before), timeout_seconds):
                raise Unavailable(
                    f"No driver has looked twice within {timeout_seconds:g} s.",
                    hint="Is `driver:kubernetes` running? `execplane status` tells; --dry-run needs no driver.",
                )
        wait_for(lambda: not drift.unanswered(), _ANSWER_SECONDS)
        page = drift.findings(resolved=True, limit=_MOST)
        rows = [
            _fields(row) for row in page.rows if row.resolved_at is None or row.id in open_before or row.id > newest
        ]
        looks = drift.looks()
    for look in looks:
        if look.unseen:
            remark(f"{look.executor}, not seen: {look.unseen}")
        if look.left_off:
            remark(f"{look.executor}: {look.left_off} more findings than are kept.")
    show_rows(rows, output, _COLUMNS, empty="No drift: ledger and cluster agree.")


def _fields(row: DriftRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "namespace": row.namespace,
        "pod_name": row.pod_name,
        "pod_uid": row.pod_uid,
        "attempt_id": row.attempt_id,
        "task": row.task,
        "found": row.sentence,
        "follows": row.action or row.decision or _follows(row.mend),
        "holds": row.holds,
        "first_seen": row.first_seen,
        "resolved_at": row.resolved_at,
    }


def _looked_at(executors: tuple[str, ...]) -> dict[str, datetime | None]:
    from execplane.store.queries import drift

    return {look.executor: look.at for look in drift.looks() if look.executor in executors}


def _all_newer(executors: tuple[str, ...], before: Mapping[str, datetime | None]) -> bool:
    """Whether each has been looked at again; by difference, because the driver's clock is not ours."""
    now = _looked_at(executors)
    return all(now.get(one) is not None and now[one] != before.get(one) for one in executors)


def decide(finding_id: int, decision: str, reason: str, output: Output) -> None:
    """Record an operator's word."""
    with acting() as session:
        from execplane.actions import drift as verbs

        verbs.decide(session.actor, finding_id, decision, reason, clock=session.deployment.clock)
    words = f"Finding {finding_id}: {decision}. The running driver does it at its next look."
    show_done([{"finding_id": finding_id, "decision": decision, "reason": reason}], output, [words])


def release(executor: str, reason: str, output: Output) -> None:
    with acting() as session:
        from execplane.actions import drift as verbs

        n = verbs.release(session.actor, executor, reason, clock=session.deployment.clock)
    pods = f"{n} pods that held it are" if n != 1 else "the pod that held it is"
    words = f"The {executor} executor launches again; {pods} left as {'they are' if n != 1 else 'it is'}."
    show_done([{"executor": executor, "findings": n, "reason": reason}], output, [words])


def _demand_pods(deployment: Deployment) -> tuple[str, ...]:
    executors = deployment.config.pod_executors
    if not executors:
        raise Conflict("No executor makes pods here, so there is nothing to compare.")
    return executors


def _found_twice(
    deployment: Deployment, executors: tuple[str, ...], between_seconds: float
) -> tuple[list[dict[str, Any]], str]:
    """A cluster that does not answer hides no other. Raises Unavailable when none does."""
    from execplane.kube.errors import KubeError

    clients, refused = _clients(deployment, executors)
    try:
        first = {name: _compare_now(deployment, name, client) for name, client in clients.items()}
        threading.Event().wait(between_seconds)
        second = {name: _compare_now(deployment, name, client) for name, client in clients.items()}
    except KubeError as error:
        raise Unavailable(error.message, hint=error.hint) from error
    unseen = "; ".join([*refused, *(trouble for _, trouble in second.values() if trouble)])
    if all(found is None for found, _ in second.values()):
        raise Unavailable(f"The pods cannot be listed: {unseen}")
    rows = []
    for name, (found, _) in second.items():
        before = {one.identity for one in first[name][0] or ()}
        rows += [_dry_row(name, one) for one in found or () if one.identity in before]
    return rows, unseen


def _clients(deployment: Deployment, executors: tuple[str, ...]) -> tuple[dict[str, Client], list[str]]:
    """One for each cluster whose credentials can be used; and why the others' cannot."""
    from execplane.contract.errors import ConfigError
    from execplane.kube.client import Client

    clients: dict[str, Client] = {}
    refused = []
    for name in executors:
        try:
            clients[name] = Client(deployment.kubernetes_options(name).kube, deployment.clock)
        except ConfigError as error:
            refused.append(f"{name}: {error.message}")
    return clients, refused


def _dry_row(executor: str, one: Finding) -> dict[str, Any]:
    return {
        "executor": executor,
        "kind": str(one.kind),
        "namespace": one.namespace,
        "pod_name": one.name,
        "pod_uid": one.uid,
        "attempt_id": one.attempt_id,
        "task": one.task,
        "found": one.sentence,
        "follows": _follows(one.mend),
    }


def _compare_now(deployment: Deployment, executor: str, client: Client) -> tuple[tuple[Finding, ...] | None, str]:
    """What differs now, and what could not be seen; None: nothing could."""
    from execplane.executors.driver.reconciling import read_beliefs
    from execplane.executors.kubernetes_reconcile import look_at
    from execplane.pods.reconcile import compare

    options = deployment.kubernetes_options(executor)
    looks, unseen = look_at(client, options, deployment.clock)
    trouble = f"{executor}: {unseen}" if unseen and options.cluster else unseen
    if unseen and not looks:
        return None, trouble
    beliefs = read_beliefs(executor, deployment.identity[0], looks)
    return compare(beliefs, looks.values(), options.patience, deployment.clock.now()), trouble


def _follows(mend: str) -> str:
    from execplane.pods.reconcile import MENDS

    return MENDS.get(mend, mend)
