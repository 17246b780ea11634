"""What the driver does with attempts that stay too long: whom it ends, as what, and when it keeps its hands off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from execplane.actions import deadlines as verbs
from execplane.contract.categories import Category
from execplane.contract.errors import Conflict
from execplane.contract.observations import Acknowledged, Diagnosis, Gone, LaunchRefused, Progress
from execplane.contract.states import TaskState
from execplane.contract.workload import Intent, Workload
from execplane.executors.driver.deadlines import DeadlineOptions
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.store import deadline_rows, launch_rows
from execplane.store.models import Attempt, Audit, Dag, Pool, TaskInstance
from execplane.store.transitions import launching, observing
from execplane.store.transitions.overdue import OverdueStop, stop_overdue
from tests.integration.driver.conftest import Recorder, many
from tests.integration.store.play import ADA, Play
from tests.integration.store.test_indexes import plan_of

STEP = 10.0


@dataclass
class Pods(Recorder):
    """Launches pods, as far as the ledger can see."""

    waiting: set[int] = field(default_factory=set)

    def unsent(self) -> set[int]:
        return self.waiting

    def build(self, workload: Workload) -> Intent:
        name = f"x-{workload.attempt_id}"
        return Intent(attempt_id=workload.attempt_id, key=workload.key, namespace="jobs", name=name, body=b"bytes")


@dataclass
class Watched:
    """A driver whose time passes in small steps, and workers that beat, or do not."""

    play: Play
    recorder: Pods = field(default_factory=Pods)
    options: DeadlineOptions = field(default_factory=DeadlineOptions)
    api: str | None = ""
    beating: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.loop = self.new_driver()

    def new_driver(self) -> DriverLoop:
        return DriverLoop(
            lambda: self.recorder,
            Deployed(deployment_id="d", incarnation=1, api_url="http://x"),
            DriverOptions(deadlines=self.options),
            self.play.clock,
            owner="d1",
            wake=lambda: None,
            api_answers=lambda: self.api,
        )

    def tick(self) -> None:
        self.loop.tick(self.play.now)

    def spend(self, seconds: float) -> None:
        """Time passes: workers beat and the driver ticks every ten seconds."""
        for _ in range(int(seconds / STEP)):
            self.play.later(STEP)
            if self.api == "":
                observing.beat([(pk, f"n{pk}", 0, self.play.now) for pk in self.beating])
            self.tick()

    def launched(self) -> Attempt:
        """One attempt whose pod was created, and of which nothing more is known."""
        self.play.decide()
        self.tick()
        attempt = self.play.attempt()
        self.recorder.said(Acknowledged(attempt_id=attempt.pk, uid=f"u{attempt.pk}", at=self.play.now))
        self.tick()
        return attempt

    def progress(self, attempt: Attempt, waiting: Diagnosis | None = None, **known: object) -> None:
        fact = Progress(attempt_id=attempt.pk, uid=f"u{attempt.pk}", at=self.play.now, waiting=waiting, **known)  # type: ignore[arg-type]
        self.recorder.said(fact)
        self.tick()

    def running(self, count: int) -> list[int]:
        """That many workers that have claimed and beat."""
        Dag.objects.update(max_active_tasks=10_000)
        Pool.objects.update(slots=-1)
        pks = many(self.play, count)
        while Attempt.objects.filter(state="queued").exists():
            self.tick()
        for pk in pks:
            launching.pass_fence(pk, uid=f"u{pk}", nonce=f"n{pk}", hostname="h", worker_version="1", now=self.play.now)
        self.beating = set(pks)
        return pks

    def dies(self, pk: int) -> None:
        killed = Diagnosis(category=Category.KILLED_BY_OPERATOR, sentence="It was stopped.", exit_code=137)
        self.recorder.said(Gone(attempt_id=pk, uid=f"u{pk}", at=self.play.now, diagnosis=killed))
        self.tick()

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for state in Attempt.objects.values_list("state", flat=True):
            found[state] = found.get(state, 0) + 1
        return found


@pytest.fixture
def watched(play: Play) -> Watched:
    return Watched(play)


@pytest.fixture
def impatient(play: Play) -> Watched:
    return Watched(play, options=DeadlineOptions(task_queued_timeout_seconds=3600))


@pytest.fixture
def brief(play: Play) -> Watched:
    """Workers that fence themselves after a minute."""
    options = DeadlineOptions(
        self_fence_seconds=60, task_instance_heartbeat_timeout_seconds=66, stopping_seconds=60, heartbeat_seconds=5
    )
    return Watched(play, options=options)


class Failing:
    """What a database does that is gone."""

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise OperationalError("no connection")


def one(pk: int) -> Attempt:
    return Attempt.objects.get(pk=pk)


MISSING = Diagnosis(
    category=Category.IMAGE_MISSING,
    sentence="Image nowhere/none does not exist: not found",
    data={"container": "base", "reason": "ErrImagePull"},
)


# Silent workers


def test_a_worker_that_hangs_is_stopped_once_it_must_have_fenced_itself_and_infrastructure_pays(
    watched: Watched,
) -> None:
    hangs, lives = watched.running(2)
    watched.beating = {lives}

    watched.spend(660)
    assert watched.states() == {"running": 2}
    watched.spend(100)

    assert (one(hangs).state, one(lives).state) == ("stopping", "running")
    watched.tick()
    assert ("stop", (hangs,)) in watched.recorder.asked
    watched.dies(hangs)
    attempt = one(hangs)
    assert (attempt.state, attempt.category) == ("failed", "heartbeat_lost")
    assert "no heartbeat for 11 min" in attempt.reason
    instance = TaskInstance.objects.get(pk=attempt.ti_id)
    assert (instance.state, instance.author_failures, instance.infra_failures) == ("up_for_retry", 0, 1)


def test_an_outage_of_the_worker_api_loses_nobody_however_long_it_takes(watched: Watched) -> None:
    """100 stand for 3,000: all of them are silent as long as the API is, and for a moment after it."""
    watched.running(100)
    watched.spend(60)

    watched.api = "The worker API does not answer."
    watched.spend(1500)
    (word,) = deadline_rows.words()
    assert word.sentence == "Deadlines of workers stand still: The worker API does not answer."
    watched.api, beating = "", watched.beating
    watched.beating = set()
    watched.spend(300)
    watched.beating = beating
    watched.spend(60)

    assert watched.states() == {"running": 100}
    assert deadline_rows.words() == ()


def test_a_driver_that_has_just_taken_over_has_no_opinion_about_the_time_when_nobody_drove(watched: Watched) -> None:
    watched.running(1)
    watched.beating = set()
    watched.spend(600)
    watched.play.later(7200)

    watched.loop = watched.new_driver()
    watched.spend(660)

    assert watched.states() == {"running": 1}
    watched.spend(60)
    assert watched.states() == {"stopping": 1}


def test_time_without_an_executor_or_a_database_does_not_count(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.running(1)
    watched.beating = set()
    watched.spend(300)

    watched.recorder.refuse = "The API server does not answer."
    watched.spend(3600)
    watched.recorder.refuse = ""
    watched.spend(100)
    for _ in range(20):
        with monkeypatch.context() as without:
            without.setattr(launch_rows, "stopping", Failing())
            for _ in range(4):
                watched.play.later(10)
                with pytest.raises(OperationalError):
                    watched.tick()
        watched.spend(10)

    watched.spend(200)
    assert watched.states() == {"running": 1}
    watched.spend(200)
    assert watched.states() == {"stopping": 1}


def test_heartbeats_of_a_host_whose_clock_is_ahead_do_not_vouch_for_an_api_that_is_down(brief: Watched) -> None:
    ahead, *others = brief.running(3)
    observing.beat([(ahead, f"n{ahead}", 0, brief.play.now + timedelta(hours=1))])

    brief.api = "The worker API does not answer."
    brief.spend(200)

    assert brief.states() == {"running": 3}
    brief.api, brief.beating = "", {ahead}
    brief.spend(100)
    assert {one(pk).state for pk in others} == {"stopping"}


def test_a_worker_that_is_heard_of_vouches_for_an_api_that_the_driver_cannot_reach(brief: Watched) -> None:
    """Also when the host that hears it is an hour behind."""
    silent, lives = brief.running(2)
    brief.api = "The worker API does not answer."

    for number in range(15):
        heard = (silent, lives) if number == 0 else (lives,)
        observing.beat([(pk, f"n{pk}", 0, brief.play.now - timedelta(hours=1)) for pk in heard])
        brief.tick()
        brief.play.later(STEP)

    assert (one(silent).state, one(lives).state) == ("stopping", "running")


def test_who_is_heard_of_between_the_look_and_the_stop_is_not_stopped(watched: Watched) -> None:
    (pk,) = watched.running(1)
    (seen,) = deadline_rows.silent("local", before=watched.play.now)
    watched.play.later(5)
    observing.beat([(pk, f"n{pk}", 0, watched.play.now)])

    stopped = stop_overdue([OverdueStop(standing=seen, then="lost", sentence="x")], actor="d1", now=watched.play.now)

    assert stopped == []
    assert watched.states() == {"running": 1}


# The breaker


def test_many_that_fall_silent_at_once_are_not_believed_until_an_operator_confirms(watched: Watched) -> None:
    watched.running(40)
    dead = set(sorted(watched.beating)[:15])
    watched.beating -= dead

    watched.spend(1000)

    assert watched.states() == {"running": 40}
    (word,) = deadline_rows.words()
    assert (word.breaker_open, word.overdue) == (True, 15)
    assert word.sentence.startswith("15 of 40 running attempts passed a deadline at once (silent). So many are not")
    assert verbs.confirm(ADA, "local", clock=watched.play.clock) == 15
    watched.spend(20)
    assert {pk for pk in dead if one(pk).state == "stopping"} == dead
    assert watched.states() == {"running": 25, "stopping": 15}
    watched.spend(20)
    assert deadline_rows.words() == ()
    assert Audit.objects.get(action="confirm").object == "deadlines:local"
    with pytest.raises(Conflict, match="not open"):
        verbs.confirm(ADA, "local", clock=watched.play.clock)


def test_a_dead_zone_is_confirmed_once_and_its_pods_end_without_another_word(brief: Watched) -> None:
    """Nobody sees them die: the same 12 are overdue again, as stops that nobody confirms."""
    pks = brief.running(40)
    brief.beating = set(pks[12:])
    brief.spend(130)
    assert deadline_rows.words()[0].overdue == 12
    verbs.confirm(ADA, "local", clock=brief.play.clock)
    brief.spend(20)
    assert brief.states() == {"running": 28, "stopping": 12}

    brief.spend(120)

    assert brief.states() == {"running": 28, "failed": 12}
    assert deadline_rows.words() == ()


def test_stops_that_an_operator_asked_for_are_believed_no_more_than_others_when_nobody_confirms_their_end(
    brief: Watched,
) -> None:
    Attempt.objects.filter(pk__in=brief.running(12)).update(state="stopping", stop_then="user")
    brief.beating = set()

    brief.spend(200)

    assert brief.states() == {"stopping": 12}
    assert deadline_rows.words()[0].breaker_open


def test_a_word_changes_in_place_and_a_confirmation_does_not_outlive_the_breaker(watched: Watched) -> None:
    now = watched.play.now
    deadline_rows.say("local", "12 passed", breaker_open=True, overdue=12, now=now)
    verbs.confirm(ADA, "local", clock=watched.play.clock)

    with CaptureQueriesContext(connection) as captured:
        deadline_rows.say("local", "They stand still.", now=now)
        deadline_rows.say("local", "15 passed", breaker_open=True, overdue=15, now=now)

    assert not [query["sql"] for query in captured.captured_queries if query["sql"].startswith("DELETE")]
    (word,) = deadline_rows.words()
    assert (word.breaker_open, word.overdue, word.confirmed, word.confirmed_by) == (True, 15, None, "")


def test_a_breaker_closes_by_itself_when_they_are_heard_of_again(watched: Watched) -> None:
    watched.running(30)
    beating, watched.beating = watched.beating, set()
    watched.spend(1000)
    assert deadline_rows.words()[0].breaker_open

    watched.beating = beating
    watched.spend(60)

    assert deadline_rows.words() == ()
    assert watched.states() == {"running": 30}


def test_a_confirmation_does_not_hold_for_many_more_than_were_shown(watched: Watched) -> None:
    watched.running(40)
    alive = sorted(watched.beating)
    watched.beating = set(alive[12:])
    watched.spend(720)
    watched.beating = set()
    watched.spend(640)
    verbs.confirm(ADA, "local", clock=watched.play.clock)
    Attempt.objects.filter(pk__in=alive[:12]).update(heartbeat_at=watched.play.now)
    watched.spend(600)

    assert watched.states().get("stopping", 0) == 0
    assert deadline_rows.words()[0].breaker_open


# Before the claim


def test_an_image_that_cannot_be_pulled_ends_its_attempt_as_such_at_its_authors_cost(
    watched: Watched,
) -> None:
    attempt = watched.launched()
    watched.progress(attempt, MISSING, node="n1")
    backing_off = Diagnosis(category=Category.IMAGE_PULL, sentence="Back-off", data={"reason": "ImagePullBackOff"})
    watched.spend(50)
    watched.progress(attempt, backing_off)
    watched.spend(20)
    watched.progress(attempt, MISSING)
    watched.spend(50)
    assert watched.play.states() == ("queued", "launched")

    watched.spend(30)

    assert watched.play.states() == ("queued", "stopping")
    watched.dies(attempt.pk)
    ended = one(attempt.pk)
    assert (ended.state, ended.category) == ("failed", "image_missing")
    assert ended.reason.startswith("Image nowhere/none does not exist: not found. It stayed so for 60 s.")
    assert ended.hint
    assert (watched.play.instance().author_failures, watched.play.instance().infra_failures) == (1, 0)


def test_a_start_that_wavers_between_reasons_is_still_timed_as_a_whole(watched: Watched) -> None:
    attempt = watched.launched()
    limited = Diagnosis(category=Category.IMAGE_PULL, sentence="Back-off", data={"reason": "ImagePullBackOff"})
    for _ in range(20):
        watched.progress(attempt, MISSING, node="n1")
        watched.spend(20)
        watched.progress(attempt, limited)
        watched.spend(70)
    assert watched.play.states() == ("queued", "launched")

    watched.spend(60)

    assert watched.play.states() == ("queued", "stopping")


def test_a_launch_that_waits_in_our_own_executor_is_not_overdue_and_its_clock_begins_when_it_is_sent(
    watched: Watched,
) -> None:
    watched.play.decide()
    watched.tick()
    pk = watched.play.attempt().pk
    watched.recorder.waiting = {pk}
    watched.spend(1200)
    watched.recorder.waiting = set()

    watched.spend(600)
    assert one(pk).state == "launched"
    watched.spend(20)

    assert (one(pk).state, one(pk).category) == ("stopping", "launch_timeout")


NO_NODE = Diagnosis(category=Category.UNSCHEDULABLE, sentence="No node fits: 0/3 nodes are available.")
QUOTA = Diagnosis(category=Category.QUOTA, sentence="The namespace's quota is used up.", infrastructure=True)


def refused(watched: Watched, attempt: Attempt) -> None:
    fact = LaunchRefused(
        attempt_id=attempt.pk, diagnosis=QUOTA, retry=True, retry_after_seconds=600, at=watched.play.now
    )
    watched.recorder.said(fact)
    watched.tick()


def test_a_pod_that_no_node_takes_waits_for_days(watched: Watched) -> None:
    attempt = watched.launched()
    watched.progress(attempt, NO_NODE)

    watched.spend(6000)

    assert watched.play.states() == ("queued", "launched")


def test_a_launch_that_a_quota_holds_back_waits_and_says_so(watched: Watched) -> None:
    watched.play.decide()
    watched.tick()
    attempt = watched.play.attempt()
    for _ in range(8):
        refused(watched, attempt)
        watched.spend(600)

    assert watched.play.states() == ("queued", "launched")
    assert list(deadline_rows.launched("local")) == []
    now = watched.play.now
    (standing,) = deadline_rows.waiting_for_room("local", launched_before=now, queued_before=now)
    assert deadline_rows.longest_wait_for_room("local") == one(attempt.pk).launched_at
    assert (standing.waits_code, standing.waits_sentence) == ("quota", QUOTA.sentence)


def test_a_cap_on_queueing_fails_what_was_launched_and_what_was_not_and_no_budget_pays(impatient: Watched) -> None:
    launched = impatient.launched()
    impatient.progress(launched, NO_NODE)
    impatient.recorder.limit = 1
    (queued,) = many(impatient.play, 1, first=50)

    impatient.spend(3590)
    assert impatient.states() == {"launched": 1, "queued": 1}
    impatient.spend(20)

    assert (one(launched.pk).state, one(queued).state) == ("stopping", "failed")
    impatient.dies(launched.pk)
    for pk in (launched.pk, queued):
        attempt = one(pk)
        assert (attempt.state, attempt.category) == ("failed", "queued_timeout")
        instance = TaskInstance.objects.get(pk=attempt.ti_id)
        assert (instance.state, instance.author_failures, instance.infra_failures) == ("failed", 0, 0)
    assert "No node fits: 0/3 nodes are available." in one(launched.pk).reason
    assert "All 1 slots of the local executor are taken." in one(queued).reason


def test_a_worker_that_claims_while_it_is_judged_keeps_its_attempt(watched: Watched) -> None:
    attempt = watched.launched()
    watched.progress(attempt, node="n1", started_at=watched.play.now)
    (seen,) = deadline_rows.launched("local")
    pk = attempt.pk
    launching.pass_fence(pk, uid=f"u{pk}", nonce=f"n{pk}", hostname="h", worker_version="1", now=watched.play.now)

    assert not stop_overdue([OverdueStop(standing=seen, then="waited", sentence="x")], actor="d1", now=watched.play.now)
    assert watched.play.states() == ("running", "running")


# Stops that nobody answers


def test_a_stopped_pod_on_a_dead_node_frees_its_slot_once_it_must_have_fenced_itself(watched: Watched) -> None:
    (pk,) = watched.running(1)
    watched.beating = set()
    watched.spend(760)
    assert one(pk).state == "stopping"

    watched.spend(600)
    assert one(pk).state == "stopping"
    watched.spend(100)

    attempt = one(pk)
    assert (attempt.state, attempt.category) == ("failed", "heartbeat_lost")
    assert attempt.cleaned_at is None
    assert TaskInstance.objects.get(pk=attempt.ti_id).infra_failures == 1


def test_a_stopped_pod_that_still_beats_is_waited_for(watched: Watched) -> None:
    (pk,) = watched.running(1)
    Attempt.objects.filter(pk=pk).update(state="stopping")

    watched.spend(3000)

    assert one(pk).state == "stopping"


def test_a_report_after_the_stop_counts_as_the_worker_says(watched: Watched) -> None:
    (pk,) = watched.running(1)
    watched.beating = set()
    watched.spend(760)
    assert one(pk).state == "stopping"

    watched.play.report("success", attempt=one(pk))

    assert one(pk).state == "success"
    assert TaskInstance.objects.get(pk=one(pk).ti_id).state == TaskState.SUCCESS


# The reads


def test_every_list_is_read_page_by_page_and_whole(watched: Watched) -> None:
    running = watched.running(5)
    later = watched.play.now + timedelta(seconds=1)
    found = [row.attempt_id for row in deadline_rows.silent("local", before=later, limit=2)]
    assert found == running
    Attempt.objects.filter(pk__in=running).update(state="launched", node="n1")
    assert [row.attempt_id for row in deadline_rows.launched("local", limit=2)] == running
    Attempt.objects.filter(pk__in=running).update(state="stopping")
    assert [row.attempt_id for row in deadline_rows.stopping("local", limit=5)] == running
    Attempt.objects.filter(pk__in=running).update(state="queued")
    assert [row.attempt_id for row in deadline_rows.queued("local", before=later, limit=2)] == running


@pytest.mark.parametrize("name", ["launched", "waiting", "first", "silent", "stopping", "queued", "newest"])
def test_each_read_is_by_the_index_of_active_attempts(watched: Watched, name: str) -> None:
    now = watched.play.now
    reads: dict[str, Callable[[], object]] = {
        "launched": lambda: list(deadline_rows.launched("local")),
        "waiting": lambda: list(deadline_rows.waiting_for_room("local", launched_before=now, queued_before=now)),
        "first": partial(deadline_rows.longest_wait_for_room, "local"),
        "silent": lambda: list(deadline_rows.silent("local", before=now)),
        "stopping": lambda: list(deadline_rows.stopping("local")),
        "queued": lambda: list(deadline_rows.queued("local", before=now)),
        "newest": partial(deadline_rows.newest_heartbeat, "local"),
    }
    with CaptureQueriesContext(connection) as captured:
        reads[name]()
    assert "attempt_active" in plan_of(captured.captured_queries[0]["sql"])
