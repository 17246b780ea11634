"""The judge of the storms finds what it is there to find."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.judge import Start, created_pods, judge

ONE = Start(run_id="r", task_id="t", pod="t-1", uid="u1", nonce="n1", began=1.0, ended=2.0, finished=True)


def test_one_start_that_comes_to_its_end_is_well() -> None:
    assert judge([ONE], [ONE.task], ["t-1"]) == []


def test_a_second_start_of_an_attempt_is_found_whichever_pod_it_is_in() -> None:
    again = replace(ONE, uid="u2", nonce="n2", began=3.0, ended=4.0)
    (sentence,) = judge([ONE, again], [ONE.task], ["t-1"])
    assert "t-1 was started 2 times" in sentence


def test_two_attempts_of_a_task_at_once_are_found() -> None:
    two = replace(ONE, pod="t-2", began=1.5, ended=3.0)
    (sentence,) = judge([ONE, two], [ONE.task], ["t-1", "t-2"])
    assert "ran at once: t-1 and t-2" in sentence


def test_an_attempt_that_still_lives_overlaps_with_all_that_follow() -> None:
    two = replace(ONE, pod="t-2", began=5.0, ended=6.0)
    assert len(judge([replace(ONE, ended=None), two], [ONE.task], ["t-1", "t-2"])) == 1


def test_one_attempt_after_the_other_is_well() -> None:
    two = replace(ONE, pod="t-2", began=2.0, ended=3.0)
    assert judge([replace(ONE, finished=False), two], [ONE.task], ["t-1", "t-2"]) == []


def test_a_task_that_never_came_to_its_end_is_found() -> None:
    assert judge([], [ONE.task], []) == ["('r', 't') never came to its end"]


def test_a_pod_that_the_api_server_does_not_know_of_is_found() -> None:
    assert judge([ONE], [ONE.task], []) == ["the API server made no pod t-1"]


def test_a_pod_whose_create_a_killed_api_server_did_not_write_down_is_known_by_its_binding() -> None:
    def entry(name: str, subresource: str = "", code: int = 201) -> dict[str, object]:
        pod = {"resource": "pods", "namespace": "n", "name": name, "subresource": subresource}
        return {"verb": "create", "objectRef": pod, "responseStatus": {"code": code}}

    seen = [entry("a"), entry("a", "binding"), entry("b", "binding"), entry("c", code=409), entry("d", "binding", 409)]
    assert created_pods(seen, "n") == ["a", "b"]
    assert created_pods(seen, "m") == []
