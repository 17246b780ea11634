"""Creates leave by priority, at a pace that all who ask the same API server share; why it is slow is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from execplane import metrics
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Acknowledged, Fact, LaunchRefused
from execplane.contract.workload import Handle, Intent
from execplane.executors.driver import backlog
from execplane.executors.driver.deadlines_watch import Queueing
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_pace import Pace, Paces, answer_of
from execplane.executors.pace import Answer
from execplane.kube.client import Client
from execplane.kube.errors import AnswerLost, KubeError, Unreachable, from_answer
from tests.conftest import TestClock
from tests.parts.eventually import eventually

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def answer(status: int, message: str = "no", **headers: str) -> KubeError:
    body = f'{{"message": "{message}"}}'.encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_answer(status, named, body, "POST pods", NOW)


def throttled(seconds: int) -> KubeError:
    return answer(429, Retry_After=str(seconds))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, Answer.GOOD),
        (answer(409), Answer.NOTHING),
        (answer(422), Answer.NOTHING),
        (answer(401), Answer.NOTHING),
        (answer(403, "exceeded quota: team"), Answer.NOTHING),
        (answer(403, "pods is forbidden"), Answer.NOTHING),
        (answer(429), Answer.TOO_MANY),
        (answer(500, "etcdserver: request timed out"), Answer.FAULT),
        (answer(504), Answer.FAULT),
        (AnswerLost("lost"), Answer.SILENCE),
        (Unreachable("refused"), Answer.SILENCE),
    ],
)
def test_only_what_the_server_itself_says_is_its_own_trouble(error: KubeError | None, told: Answer) -> None:
    assert answer_of(error) is told


@pytest.mark.parametrize(
    "error",
    [
        answer(500, 'failed calling webhook \\"w\\": context deadline exceeded'),
        answer(429, 'admission webhook \\"w\\" denied the request: later', Retry_After="600"),
    ],
)
def test_a_webhook_that_hangs_or_refuses_delays_only_the_pods_it_is_asked_for(
    clock: TestClock, error: KubeError
) -> None:
    pace = Pace(clock, 16)
    pace.heard(error, clock.monotonic())
    assert (pace.at_once, pace.check()) == (16, "")


def test_a_long_pause_is_said_in_the_same_words_until_its_last_seconds(clock: TestClock) -> None:
    pace = Pace(clock, 16)
    pace.heard(throttled(120), clock.monotonic())
    said = "The API server asked to wait until 2026-03-01 12:02:00 UTC."
    assert pace.check() == said
    clock.advance(60.4)
    pace.heard(throttled(10), clock.monotonic())
    assert pace.check() == said
    clock.advance(54.6)
    assert pace.check() == ""


def test_a_short_pause_is_nobodys_business(clock: TestClock) -> None:
    pace = Pace(clock, 16)
    pace.heard(throttled(5), clock.monotonic())
    assert pace.check() == ""


def slow_down(pace: Pace, clock: TestClock, *, usual: float, slow: float) -> None:
    for took in [usual] * 20 + [slow] * 15:
        sent = clock.monotonic()
        clock.advance(took)
        pace.heard(None, sent)


def test_a_slow_server_is_said_with_figures_that_do_not_change_with_every_answer(clock: TestClock) -> None:
    pace = Pace(clock, 16)
    assert pace.slowed() == ""
    slow_down(pace, clock, usual=0.1, slow=3.0)
    said = pace.slowed()
    assert said.startswith("The API server is slow (a create takes 3.0 s, usually 0.1 s): ")
    assert said.endswith(f"{pace.at_once} creates at once instead of 16.")
    pace.heard(throttled(1), clock.monotonic())
    assert pace.slowed() == said
    clock.advance(11)
    assert pace.slowed() == (
        f"The API server asks for fewer requests (429): {pace.at_once} creates at once instead of 16."
    )


def test_the_present_limit_is_a_metric(clock: TestClock) -> None:
    seen: list[tuple[str, float, dict[str, str]]] = []

    class Seen(metrics.Metrics):
        def set(self, name: str, value: float, /, **labels: str) -> None:
            seen.append((name, value, labels))

    before = metrics.use(Seen())
    try:
        pace = Paces(clock).of("https://k", 16)
        pace.heard(throttled(1), clock.monotonic())
    finally:
        metrics.use(before)
    name = "execplane_kubernetes_creates_at_once"
    assert seen == [(name, 16.0, {"server": "https://k"}), (name, 8.0, {"server": "https://k"})]


class Server:
    """An API server that holds each create until the test lets it go, and answers as the test says."""

    host = "https://k"

    def __init__(self, answer: Callable[[], bytes] = lambda: b'{"metadata": {"uid": "u"}}') -> None:
        self.answers = threading.Semaphore(0)
        self.answer = answer
        self.asked: list[str] = []

    def create_pod(self, namespace: str, body: bytes) -> bytes:
        self.asked.append(body.decode())
        self.answers.acquire()
        return self.answer()

    def close(self) -> None:
        """Nothing is open."""


def fails(error: KubeError) -> Callable[[], bytes]:
    def answer() -> bytes:
        raise error

    return answer


@pytest.fixture
def server() -> Server:
    return Server()


Start = Callable[..., KubernetesExecutor]


@pytest.fixture
def start(server: Server, clock: TestClock) -> Iterator[Start]:
    made: list[KubernetesExecutor] = []

    def started(at_once: int, **more: Any) -> KubernetesExecutor:
        options = KubernetesOptions(deployment_id="d", creation_concurrency=at_once)
        one = KubernetesExecutor(options, client=cast(Client, server), clock=clock, **more)
        one.tracker.connect(more.get("report", lambda facts: None), lambda entry: None)
        made.append(one)
        return one

    yield started
    server.answers.release(1000)
    for one in made:
        one.close()
    # Whoever waited for the pace waits no longer.
    eventually(lambda: not any(thread.is_alive() for one in made for thread in one._creates._threads._threads))


def key_of(number: int) -> AttemptKey:
    return AttemptKey(task=TaskKey(dag_id="d", run_id="r", task_id="t", map_index=number), attempt_no=1)


def intent(number: int, priority: int = 0) -> Intent:
    name = f"p{number}"
    return Intent(
        attempt_id=number, key=key_of(number), namespace="jobs", name=name, body=name.encode(), priority=priority
    )


def test_a_create_that_waits_for_its_turn_or_for_a_pause_to_pass_is_not_sent_yet(start: Start, server: Server) -> None:
    server.answer = fails(throttled(900))
    executor = start(2)
    executor.launch([intent(n) for n in range(10)])
    assert isinstance(executor, Queueing)
    eventually(lambda: executor.unsent() == set(range(2, 10)))
    assert executor.check() == ""

    server.answers.release(2)

    eventually(lambda: executor.check() == "The API server asked to wait until 2026-03-01 12:15:00 UTC.")
    assert executor.unsent() == set(range(2, 10))
    executor.stop([Handle(attempt_id=9, key=key_of(9), namespace="jobs", name="p9")], grace_seconds=1)
    assert 9 not in executor.unsent()


def test_what_waits_leaves_by_priority_and_what_came_late_with_a_higher_one_first(start: Start, server: Server) -> None:
    executor = start(1)
    executor.launch([intent(n) for n in range(4)])
    eventually(lambda: server.asked == ["p0"])
    executor.launch([intent(7, priority=5), intent(8, priority=9), intent(9, priority=5)])
    executor.stop([Handle(attempt_id=2, key=key_of(2), namespace="jobs", name="p2")], grace_seconds=1)

    server.answers.release(10)

    eventually(lambda: not executor.unsent() and len(server.asked) == 6)
    assert server.asked == ["p0", "p8", "p7", "p9", "p1", "p3"]


def test_after_trouble_half_as_many_are_under_way_at_once_and_more_again_when_it_is_well(
    start: Start, server: Server, clock: TestClock
) -> None:
    executor = start(8)
    executor.launch([intent(n) for n in range(8)])
    eventually(lambda: len(server.asked) == 8)
    clock.advance(1)
    executor._pace.heard(throttled(0), clock.monotonic())
    executor.launch([intent(n) for n in range(8, 40)])
    server.answers.release(8)
    eventually(lambda: len(server.asked) == 12)
    assert len(executor.unsent()) == 28, "four of the eight may follow"
    assert executor.slowed() == "The API server asks for fewer requests (429): 4 creates at once instead of 8."
    assert backlog.is_full(executor, 28)
    assert not backlog.is_full(executor, 29)
    assert backlog.why_slow(executor) == executor.slowed()

    server.answers.release(100)
    eventually(lambda: len(server.asked) == 40)
    eventually(lambda: executor.slowed() == "")


def test_executors_of_one_api_server_share_its_pace(start: Start, server: Server, clock: TestClock) -> None:
    paces = Paces(clock)
    one, other = start(4, paces=paces), start(4, paces=paces)
    one.launch([intent(n) for n in range(4)])
    eventually(lambda: len(server.asked) == 4)
    other.launch([intent(n) for n in range(10, 14)])
    one._pace.heard(throttled(0), clock.monotonic())
    assert other.slowed() == "The API server asks for fewer requests (429): 2 creates at once instead of 4."

    server.answers.release(2)
    eventually(lambda: not one.unsent())
    assert len(other.unsent()) == 4, "two of the first are under way still"
    server.answers.release(100)
    eventually(lambda: not other.unsent())
    assert paces.of("https://another", 4).at_once == 4


def test_a_full_quota_and_a_bad_spec_hold_back_nobody_else(start: Start, server: Server) -> None:
    refusals: list[Callable[[], bytes]] = [
        fails(answer(403, "exceeded quota: team, requested: pods=1")),
        fails(answer(422, "spec.volumes is not valid")),
    ] * 20
    lock = threading.Lock()

    def one_after_the_other() -> bytes:
        with lock:
            made = refusals.pop() if refusals else None
        return made() if made is not None else b'{"metadata": {"uid": "u"}}'

    server.answer = one_after_the_other
    server.answers.release(1000)
    executor = start(4)
    facts: list[Fact] = []
    executor.tracker.connect(facts.extend, lambda entry: None)

    executor.launch([intent(n) for n in range(50)])

    eventually(lambda: sum(isinstance(fact, Acknowledged) for fact in facts) == 10)
    assert sum(isinstance(fact, LaunchRefused) for fact in facts) == 40
    assert (executor.check(), executor.slowed(), executor._pace.at_once) == ("", "", 4)


def test_a_closed_executor_sends_nothing_more_and_leaves_the_pace_to_others(
    start: Start, server: Server, clock: TestClock
) -> None:
    paces = Paces(clock)
    one, other = start(1, paces=paces), start(1, paces=paces)
    one.launch([intent(n) for n in range(3)])
    eventually(lambda: server.asked == ["p0"])
    other.launch([intent(10)])
    closing = threading.Thread(target=one.close)
    closing.start()
    eventually(lambda: not one.unsent())
    server.answers.release(100)
    closing.join()
    eventually(lambda: server.asked == ["p0", "p10"])


SILENT = answer(500, 'failed calling webhook \\"w.example.org\\": context deadline exceeded')


def test_a_namespace_whose_webhook_is_silent_has_a_quarter_of_the_threads(start: Start, server: Server) -> None:
    """Each of its creates keeps a thread for as long as the webhook may take; the others' must find one."""
    server.answer = fails(SILENT)
    facts: list[Fact] = []
    executor = start(8)
    executor.tracker.connect(facts.extend, lambda entry: None)
    executor.launch([intent(0)])
    server.answers.release()
    eventually(lambda: facts)

    executor.launch([intent(n) for n in range(1, 21)])
    eventually(lambda: len(server.asked) == 3)
    executor.launch([msgspec.structs.replace(intent(n), namespace="other") for n in range(30, 36)])
    eventually(lambda: len(server.asked) == 9)
    assert server.asked == ["p0", "p1", "p2", *(f"p{n}" for n in range(30, 36))]

    server.answers.release(1000)
    eventually(lambda: len(facts) == 27)
    assert not executor.unsent()


def test_a_silent_webhook_is_asked_once_a_launch_and_the_launch_waits(start: Start, server: Server) -> None:
    server.answer = fails(SILENT)
    server.answers.release(10)
    facts: list[Fact] = []
    executor = start(1)
    executor.tracker.connect(facts.extend, lambda entry: None)
    executor.launch([intent(0)])
    eventually(lambda: facts)
    refused = facts[0]
    assert isinstance(refused, LaunchRefused)
    assert (refused.retry, refused.retry_after_seconds, refused.diagnosis.data["webhook"]) == (
        True,
        executor.options.quota_retry_seconds,
        "w.example.org",
    )
    assert server.asked == ["p0"]


def test_what_another_may_drive_by_now_is_not_sent(start: Start, server: Server) -> None:
    leads = threading.Event()
    executor = start(2)
    executor.lead(leads.is_set)
    executor.launch([intent(n) for n in range(4)])
    eventually(lambda: len(executor._creates._threads._threads) == 2)
    assert server.asked == []
    leads.set()
    eventually(lambda: len(server.asked) == 2)
    leads.clear()
    server.answers.release(2)
    eventually(lambda: executor._creates.under_way(0) is executor._creates.under_way(1) is False)
    assert len(server.asked) == 2
    assert len(executor.unsent()) == 2


def test_an_answer_that_cannot_be_read_is_told_as_one_that_did_not_come(start: Start, server: Server) -> None:
    server.answer = lambda: b"<html>a proxy's page</html>"
    server.answers.release(10)
    facts: list[Fact] = []
    executor = start(1)
    executor.tracker.connect(facts.extend, lambda entry: None)
    executor.launch([intent(0)])
    eventually(lambda: facts)
    refused = facts[0]
    assert isinstance(refused, LaunchRefused)
    assert (refused.retry, refused.diagnosis.data) == (True, {"may_exist": True})
    assert executor.tracker.expect(intent(0)), "it can be sent again"


@pytest.mark.parametrize("again", [True, False])
def test_a_stop_asks_the_api_server_for_a_pod_that_an_earlier_create_may_have_made(
    start: Start, server: Server, again: bool
) -> None:
    facts: list[Fact] = []
    executor = start(1)
    executor.tracker.connect(facts.extend, lambda entry: None)
    executor.launch([intent(0), msgspec.structs.replace(intent(1), again=again)])
    eventually(lambda: server.asked == ["p0"])
    removed: list[int] = []
    executor._remover.remove = lambda removal: removed.append(removal.entry.attempt_id)  # type: ignore[method-assign]
    executor.stop([Handle(attempt_id=1, key=key_of(1), namespace="jobs", name="p1")], grace_seconds=1)
    assert removed == ([1] if again else [])
    assert bool(facts) is not again
    assert not executor.unsent()


@pytest.mark.parametrize(
    ("waiting", "ordered"), [([], [1, 2, 3, 4, 5]), ([1, 2, 7], [3, 4]), (range(100, 110), [])], ids=str
)
def test_launches_that_are_sent_again_leave_half_of_the_room(waiting: Sequence[int], ordered: list[int]) -> None:
    class Waits:
        def unsent(self) -> Sequence[int]:
            return waiting

    assert backlog.to_send_again(cast(Any, Waits()), [1, 2, 3, 4, 5], 10) == ordered
