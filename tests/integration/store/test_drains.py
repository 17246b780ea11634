"""A drain ends attempts at the infrastructure's cost, also when the worker reports before the pod is seen to end."""

from __future__ import annotations

from typing import Any

from execplane.contract.observations import Progress
from execplane.store.transitions import observing
from tests.integration.store.play import Play

DISRUPTED = {
    "phase": "Running",
    "conditions": [
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
    ],
}


def terminated(play: Play, status: dict[str, Any]) -> None:
    play.decide()
    play.claim()
    play.commit()
    play.acknowledge()
    play.fence()
    one = play.attempt()
    observing.observe(
        [Progress(attempt_id=one.pk, uid=f"u{one.pk}", at=play.now, node="node-1", status=status)], now=play.now
    )
    play.report("terminated", reason="SIGTERM")


def test_a_worker_that_a_drain_terminated_is_drained(play: Play) -> None:
    terminated(play, DISRUPTED)
    assert play.attempt().category == "drained"
    assert play.attempt().reason.startswith("Evicted from node-1 through the eviction API (a drain)")
    assert (play.instance().author_failures, play.instance().infra_failures) == (0, 1)


def test_a_worker_that_nobody_was_seen_to_terminate_is_called_so(play: Play) -> None:
    terminated(play, {"phase": "Running"})
    assert play.attempt().category == "terminated"
    assert (play.instance().author_failures, play.instance().infra_failures) == (0, 1)
