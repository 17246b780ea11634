"""A driver is killed at each step of a claim, and the next one loses nothing and doubles nothing."""

from __future__ import annotations

import signal
from collections import defaultdict
from pathlib import Path

import pytest

from execplane.contract.states import AttemptState
from execplane.store.models import Attempt
from tests.integration.deployment_part import lines, logs, process
from tests.integration.driver.conftest import many
from tests.integration.store.conftest import Ledger
from tests.integration.store.conftest import ledger as ledger  # a fixture
from tests.integration.store.invariants import violations
from tests.integration.store.play import Play
from tests.parts.eventually import eventually

STEPS = [
    "after the claim",
    "after the intent",
    "in the midst of launching",
    "after the launch",
    "after the acknowledgement",
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS)
def test_a_driver_killed_in_a_claim_costs_no_attempt_and_doubles_none(
    ledger: Ledger,
    tmp_path: Path,
    step: str,
) -> None:
    attempts = many(Play(run_pk=ledger.run_pk, clock=ledger.clock), 6)
    with process("driver", tmp_path, step) as first:
        eventually(lambda: first.poll() is not None, on_failure=lambda: logs(tmp_path))
        assert first.returncode == -signal.SIGKILL, logs(tmp_path)
    assert [line["at"] for line in lines(tmp_path, "deaths")] == [step]

    with process("driver", tmp_path):
        eventually(lambda: acknowledged() == len(attempts), 20, on_failure=lambda: f"{states()}\n{logs(tmp_path)}")

    bodies: dict[str, set[str]] = defaultdict(set)
    for line in lines(tmp_path, "launches"):
        bodies[line["name"]].add(line["body"])
    committed = dict(Attempt.objects.values_list("pod_name", "intent_sha256"))
    assert bodies == {name: {digest} for name, digest in committed.items()}
    assert len(committed) == len(attempts)
    assert violations() == []


def acknowledged() -> int:
    return Attempt.objects.filter(state=AttemptState.LAUNCHED, acknowledged_at__isnull=False).count()


def states() -> list[tuple[object, ...]]:
    return list(Attempt.objects.values_list("pk", "state", "owner", "acknowledged_at", "retry_at"))
