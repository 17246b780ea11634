"""XComs as a running attempt pushes and pulls them."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.messages import Accepted, ClaimAnswer, XComPull, XComPush, XComValues
from execplane.store.models import DagRun
from execplane.store.transitions import runs
from tests.integration.store.conftest import new_run, save_dag
from tests.integration.worker_api.conftest import NONCE, Caller, value


def pull(caller: Caller, **wanted: object) -> XComValues:
    return caller.call("POST", "xcoms/pull", XComPull(**wanted)).read(XComValues)  # type: ignore[arg-type]


def plain(found: XComValues) -> list[tuple[str, int, object]]:
    return [(one.task_id, one.map_index, msgspec.json.decode(one.value)) for one in found.values]


def test_a_pushed_xcom_is_overwritten_by_the_next_and_read_by_others(caller: Caller) -> None:
    caller.running()
    for data in (1, 2):
        caller.call("PUT", "xcoms", XComPush(nonce=NONCE, values=(value(data, "rows"),))).read(Accepted)
    assert plain(pull(caller, key="rows")) == [("extract", -1, 2)], "without task ids: the own task's"
    caller.end()

    caller.running("load")
    assert plain(pull(caller, task_ids=("extract",), key="rows")) == [("extract", -1, 2)]
    assert pull(caller, task_ids=("extract",), key="absent") == XComValues(values=())
    assert pull(caller, task_ids=("unknown",)) == XComValues(values=())


def test_xcoms_that_arguments_refer_to_come_with_the_claim(caller: Caller) -> None:
    caller.running()
    caller.end(xcoms=(value({"rows": 3}), value("x", "other")))

    claim = caller.claim(caller.launched("load")).read(ClaimAnswer)

    assert [(one.task_id, one.key, bytes(one.value)) for one in claim.xcoms] == [
        ("extract", "return_value", b'{"rows":3}')
    ]


def test_xcoms_of_several_tasks_come_in_the_order_asked_for(caller: Caller) -> None:
    caller.running()
    caller.end(xcoms=(value("first"),))
    caller.running("load")
    caller.call("PUT", "xcoms", XComPush(nonce=NONCE, values=(value("second", task_id="load"),)))

    assert [one[0] for one in plain(pull(caller, task_ids=("load", "extract")))] == ["load", "extract"]
    assert [one[0] for one in plain(pull(caller, task_ids=("extract", "load")))] == ["extract", "load"]
    missing = plain(pull(caller, task_ids=("load", "absent", "extract")))
    assert [one[0] for one in missing] == ["load", "extract"]


def test_xcoms_of_a_mapped_task_come_in_the_order_of_their_index(caller: Caller) -> None:
    for index in (2, 0, 1):
        caller.add_instance("each", index)
    for index in (1, 2, 0):
        caller.running("each", index)
        caller.end(xcoms=(value(index * 10, task_id="each"),))
    caller.running("load")

    found = pull(caller, task_ids=("each",))
    assert plain(found) == [("each", 0, 0), ("each", 1, 10), ("each", 2, 20)]
    assert found.mapped_task_ids == ("each",)
    assert plain(pull(caller, task_ids=("each",), map_index=1)) == [("each", 1, 10)]


def test_xcoms_of_earlier_runs_are_found_only_when_asked_for(caller: Caller) -> None:
    older = caller.run("r0", caller.now - timedelta(days=2))
    old = caller.run("r00", caller.now - timedelta(days=1))
    later = caller.run("r2", caller.now + timedelta(days=1))
    for pk, data in ((older, "oldest"), (old, "old"), (later, "later")):
        caller.running("extract", run_pk=pk)
        caller.end(xcoms=(value(data),))
    caller.running("load")

    assert plain(pull(caller, task_ids=("extract",))) == []
    assert plain(pull(caller, task_ids=("extract",), include_prior_dates=True)) == [("extract", -1, "old")]


def another_dag(caller: Caller, *dates: datetime) -> None:
    """A DAG `other` of one task, with a run for each date, whose XCom says which one it is."""
    spec = DagSpec(dag_id="other", file="other.py", tasks=(TaskSpec(task_id="extract", operator="BashOperator"),))
    version = save_dag(spec, caller.now)
    for number, date in enumerate(dates):
        pk = runs.create_run(new_run("other", version, f"other{number}", date), now=caller.now)
        caller.add_instance("extract", run_pk=pk)
        DagRun.objects.filter(pk=pk).update(state="running", started_at=caller.now)
        caller.running("extract", run_pk=pk)
        caller.end(xcoms=(value(number),))


def test_prior_dates_of_another_dag_reach_to_our_own_date(caller: Caller) -> None:
    day = timedelta(days=1)
    another_dag(caller, caller.now - 2 * day, caller.now - day, caller.now + day)
    caller.running("load")

    found = pull(caller, task_ids=("extract",), dag_id="other", include_prior_dates=True)

    assert plain(found) == [("extract", -1, 1)]
    assert plain(pull(caller, task_ids=("extract",), dag_id="other")) == []
    up_to_another = pull(caller, task_ids=("extract",), dag_id="other", run_id="other0", include_prior_dates=True)
    assert plain(up_to_another) == [("extract", -1, 0)]


def test_a_run_without_a_logical_date_finds_the_runs_before_it_was_due(caller: Caller) -> None:
    day = timedelta(days=1)
    another_dag(caller, caller.now - day, caller.now + day)
    old = caller.run("r0", caller.now - day)
    caller.running("extract", run_pk=old)
    caller.end(xcoms=(value("old"),))
    DagRun.objects.filter(pk=caller.run_pk).update(logical_date=None)
    caller.running("load")
    caller.call("PUT", "xcoms", XComPush(nonce=NONCE, values=(value("mine", task_id="load"),)))

    assert plain(pull(caller, task_ids=("extract",), dag_id="other", include_prior_dates=True)) == [("extract", -1, 0)]
    own = pull(caller, task_ids=("load", "extract"), include_prior_dates=True)
    assert plain(own) == [("load", -1, "mine"), ("extract", -1, "old")]


def test_a_mapped_task_of_another_dag_or_an_earlier_run_is_told_to_be_mapped(caller: Caller) -> None:
    old = caller.run("r0", caller.now - timedelta(days=1))
    for index in (0, 1):
        caller.add_instance("each", index, old)
        caller.running("each", index, old)
        caller.end(xcoms=(value(index, task_id="each"),))
    caller.running("load")

    found = pull(caller, task_ids=("each",), include_prior_dates=True)
    assert (plain(found), found.mapped_task_ids) == ([("each", 0, 0), ("each", 1, 1)], ("each",))


def test_xcoms_of_another_run_are_found_by_its_name(caller: Caller) -> None:
    other = caller.run("other", caller.now + timedelta(days=1))
    caller.running("extract", run_pk=other)
    caller.end(xcoms=(value("elsewhere"),))
    caller.running("load")

    assert plain(pull(caller, task_ids=("extract",), run_id="other")) == [("extract", -1, "elsewhere")]
    assert plain(pull(caller, task_ids=("extract",), dag_id="orders", run_id="other")) == [("extract", -1, "elsewhere")]
    assert pull(caller, task_ids=("extract",), run_id="absent") == XComValues(values=())


@pytest.mark.parametrize("key", ["", "k" * 513, "a\0b"])
def test_an_xcom_key_that_is_none_is_refused(caller: Caller, key: str) -> None:
    caller.running()

    answer = caller.call("PUT", "xcoms", XComPush(nonce=NONCE, values=(value(1, key),)))

    assert (answer.status, answer.refusal.code) == (400, "malformed")
