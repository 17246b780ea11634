"""While launches are held because this may be a copy of the ledger, its deadlines end nothing either."""

from __future__ import annotations

import pytest

from execplane.executors.driver.deadlines import DeadlineOptions
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.store import drift_rows
from execplane.store.models import Attempt
from tests.integration.driver.test_reconciling import Clustered, World, stray
from tests.integration.store.play import Play


def driven(play: Play, options: DeadlineOptions) -> World:
    cluster = Clustered()
    loop = DriverLoop(
        lambda: cluster,
        Deployed(deployment_id="d", incarnation=1, api_url="http://x"),
        DriverOptions(deadlines=options),
        play.clock,
        owner="d1",
        wake=lambda: None,
        api_answers=lambda: "",
    )
    return World(loop=loop, cluster=cluster, play=play)


@pytest.mark.parametrize("held", [True, False])
def test_a_copy_of_the_database_stops_no_pod_of_the_original_because_it_hears_no_heartbeats(
    play: Play, held: bool
) -> None:
    world = driven(play, DeadlineOptions(self_fence_seconds=60, task_instance_heartbeat_timeout_seconds=66))
    play.decide()
    world.look()
    attempt = play.attempt()
    Attempt.objects.filter(pk=attempt.pk).update(
        state="running", pod_uid=f"u{attempt.pk}", acknowledged_at=play.now, heartbeat_at=play.now
    )
    pods = [world.pod_of(attempt), *([stray(attempt.pk + 5, finished=False)] if held else [])]

    for _ in range(15):
        world.look(*pods, after_seconds=10)

    assert bool(drift_rows.hold_reason("local")) == held
    assert play.attempt().state == ("running" if held else "stopping")


def test_a_hold_is_no_wait_for_capacity(play: Play) -> None:
    world = driven(play, DeadlineOptions(task_queued_timeout_seconds=60))
    play.decide()
    alien = stray(play.attempt().pk + 5, finished=False)

    for _ in range(15):
        world.look(alien, after_seconds=10)

    assert play.attempt().state == "queued"
