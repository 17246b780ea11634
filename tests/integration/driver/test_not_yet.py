"""What becomes of an attempt whose pod cannot be built now, and of one whose pod a policy does not allow."""

from __future__ import annotations

import pytest

from execplane.contract.errors import NotYet, PolicyViolation
from execplane.contract.states import AttemptState
from execplane.contract.workload import Intent, Workload
from tests.integration.driver.conftest import Driven, many

SAID = "pod_mutation_hook did not return within 5 s."


def test_what_is_told_to_let_others_go_first_is_built_after_them(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = many(driven.play, 3)
    asked: list[int] = []
    build = driven.recorder.build

    def politely(workload: Workload) -> Intent:
        asked.append(workload.attempt_id)
        if asked == [first]:
            raise NotYet(SAID)
        return build(workload)

    monkeypatch.setattr(driven.recorder, "build", politely)
    driven.tick()
    assert (asked, driven.recorder.launched()) == ([first, *others, first], [*others, first])


def test_what_cannot_be_built_now_waits_with_the_reason_and_pays_nothing(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven.play.decide()

    def hangs(workload: Workload) -> Intent:
        driven.recorder.refuse = SAID
        raise NotYet(SAID)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(driven.recorder, "build", hangs)
        driven.tick()
        attempt = driven.play.attempt()
        assert (attempt.state, driven.recorder.launched()) == (AttemptState.QUEUED, [])
        driven.tick()
        assert SAID in driven.play.attempt().not_claimed_reason
    driven.recorder.refuse = ""
    driven.tick()
    again = driven.play.attempt()
    assert (again.pk, again.attempt_no, again.state) == (attempt.pk, attempt.attempt_no, AttemptState.LAUNCHED)


def test_a_pod_that_a_policy_forbids_fails_as_such_at_its_authors_cost(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven.play.decide()

    def forbidden(workload: Workload) -> Intent:
        raise PolicyViolation("The pod is not allowed: spec.hostNetwork is true.", hint="Remove hostNetwork.")

    monkeypatch.setattr(driven.recorder, "build", forbidden)
    driven.tick()
    attempt = driven.play.attempt()
    assert (attempt.state, attempt.category) == (AttemptState.FAILED, "admission_denied")
    assert attempt.reason.startswith("The pod is not allowed: spec.hostNetwork is true.")
    assert attempt.hint == "Remove hostNetwork."
    assert (attempt.ti.author_failures, attempt.ti.infra_failures) == (1, 0)
