from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta  # type: ignore[import-untyped]

from execplane.contract.dag import DagSpec, ParamSpec, TimetableSpec, dag_hash, decode_dag, encode_dag
from execplane.contract.errors import DagImportError
from execplane.sdk import DAG, EmptyOperator, Param, timetables
from execplane.sdk.exceptions import ParamValidationError
from execplane.sdk.options import Defaults
from execplane.sdk.params import ParamsDict, merge, violation
from execplane.sdk.serialise import serialise, timetable_of
from execplane.web.forms import fields
from tests.unit.sdk.building import START, new_dag, spec_of


def timetable(schedule: Any, start: datetime = START, **kwargs: Any) -> TimetableSpec:
    return timetable_of(DAG("d", schedule=schedule, start_date=start, **kwargs), Defaults())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, TimetableSpec()),
        ("@daily", TimetableSpec(kind="cron", expression="0 0 * * *", description="@daily")),
        ("@quarterly", TimetableSpec(kind="cron", expression="0 0 1 */3 *", description="@quarterly")),
        ("5 * * * MON", TimetableSpec(kind="cron", expression="5 * * * MON", description="5 * * * MON")),
        ("@once", TimetableSpec(kind="once", description="@once")),
        ("@continuous", TimetableSpec(kind="continuous", description="@continuous")),
        (timedelta(days=1), TimetableSpec(kind="delta", delta_seconds=86400.0, description="1 day, 0:00:00")),
        (relativedelta(hours=6), TimetableSpec(kind="delta", delta_seconds=21600.0, description="6:00:00")),
    ],
    ids=repr,
)  # fmt: skip
def test_schedules_are_stored_with_what_the_author_wrote(schedule: Any, expected: TimetableSpec) -> None:
    assert timetable(schedule) == expected


@pytest.mark.parametrize("preset", sorted(timetables.PRESETS))
def test_every_preset_is_known(preset: str) -> None:
    assert timetable(preset).expression == timetables.PRESETS[preset]


def test_timetable_classes_fix_the_semantics() -> None:
    trigger = timetable(timetables.CronTriggerTimetable("@daily", timezone="Europe/Paris"))
    assert (trigger.semantics, trigger.timezone, trigger.expression) == ("instant", "Europe/Paris", "0 0 * * *")
    interval = timetable(timetables.CronDataIntervalTimetable("@daily", "UTC"), timetable_semantics="instant")
    assert interval.semantics == "interval"
    assert timetable(timetables.DeltaTriggerTimetable(timedelta(hours=1))).semantics == "instant"
    assert timetable(timetables.NullTimetable()).kind == "none"
    assert timetable(timetables.OnceTimetable()).kind == "once"


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("* * * *", "not a cron expression"),
        ("0 0 32 * *", "not a cron expression"),
        ("0 0 0 * * *", "not five fields|not a cron"),
        ("@never", "no preset '@never'"),
        (timedelta(0), "not positive"),
        (relativedelta(months=1), "months or years"),
        (["dataset"], "not supported"),
        (7, "not supported"),
    ],
    ids=repr,
)
def test_a_schedule_that_is_none_is_refused_with_advice(schedule: Any, words: str) -> None:
    with pytest.raises(DagImportError, match=words) as caught:
        timetable(schedule)
    assert "DAG 'd'" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (UTC, "UTC"),
        (ZoneInfo("Europe/Paris"), "Europe/Paris"),
        (timezone(timedelta(hours=2)), "Etc/GMT-2"),
        (timezone(timedelta(hours=-5)), "Etc/GMT+5"),
    ],
    ids=str,
)
def test_the_zone_is_the_start_dates(zone: Any, name: str) -> None:
    found = timetable("@daily", datetime(2024, 1, 1, tzinfo=zone))
    assert found.timezone == name
    # what is stored must be the same zone
    assert datetime(2024, 1, 1, tzinfo=ZoneInfo(name)) == datetime(2024, 1, 1, tzinfo=zone)


def test_a_zone_without_a_name_is_refused() -> None:
    with pytest.raises(DagImportError, match="IANA name"):
        timetable("@daily", datetime(2024, 1, 1, tzinfo=timezone(timedelta(minutes=30))))


def test_pendulum_start_dates_work() -> None:
    import pendulum

    dag = DAG("d", schedule="@daily", start_date=pendulum.datetime(2024, 1, 1, tz="Europe/Paris"))
    spec = serialise(dag, defaults=Defaults())
    assert spec.timetable.timezone == "Europe/Paris"
    assert spec.start_date == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert type(spec.start_date) is datetime


def test_the_start_date_may_come_from_default_args_or_from_the_tasks() -> None:
    zone = ZoneInfo("Europe/Paris")
    with DAG("a", schedule="@daily", default_args={"start_date": datetime(2024, 1, 1, tzinfo=zone)}) as dag:
        EmptyOperator(task_id="t")
    spec = serialise(dag, defaults=Defaults())
    assert (spec.start_date, spec.timetable.timezone) == (datetime(2023, 12, 31, 23, tzinfo=UTC), "Europe/Paris")
    with DAG("b", schedule="@daily") as dag:
        EmptyOperator(task_id="late", start_date=datetime(2024, 5, 1))
        EmptyOperator(task_id="early", start_date="2024-02-01")
    assert serialise(dag, defaults=Defaults()).start_date == datetime(2024, 2, 1, tzinfo=UTC)


def test_following_and_preceding_moments() -> None:
    daily = timetable("@daily", datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris")))
    moment = datetime(2024, 3, 31, 12, tzinfo=UTC)
    assert timetables.following(daily, moment) == datetime(2024, 3, 31, 22, tzinfo=UTC)
    assert timetables.preceding(daily, moment) == datetime(2024, 3, 30, 23, tzinfo=UTC)
    hourly = timetable(timedelta(hours=1))
    assert timetables.following(hourly, moment) == moment + timedelta(hours=1)
    assert timetables.preceding(hourly, moment) == moment - timedelta(hours=1)
    assert timetables.following(timetable(None), moment) is None


def test_doc_md_may_be_a_file_beside_the_dag(tmp_path: Any) -> None:
    (tmp_path / "about.md").write_text("# About")
    dag = new_dag(doc_md="about.md")
    dag.file = str(tmp_path / "dag.py")
    assert serialise(dag, defaults=Defaults()).doc_md == "# About"
    dag.doc_md = "missing.md"
    with pytest.raises(DagImportError, match=r"'missing\.md', which cannot be read"):
        serialise(dag, defaults=Defaults())


def test_an_empty_task_with_callbacks_is_launched_and_without_is_not() -> None:
    with new_dag() as dag:
        EmptyOperator(task_id="plain")
        EmptyOperator(task_id="tells", on_success_callback=print)

        class Derived(EmptyOperator):
            pass

        Derived(task_id="derived")
    assert spec_of(dag, "plain").kind == "empty"
    assert spec_of(dag, "tells").kind == spec_of(dag, "derived").kind == "task"


# ---- params --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, -3, 2.0], ["1", True, 1.5, None]),
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 3}, [1, 2.5], [0.5, 3]),
        ({"type": ["null", "string"]}, [None, "x"], [1]),
        ({"type": "boolean"}, [True], [1, "true"]),
        ({"enum": ["a", 1]}, ["a", 1], ["b"]),
        ({"const": 5}, [5], [6]),
        ({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^a"}, ["ab", "abc"], ["a", "abcd", "bb"]),
        ({"type": "string", "format": "date"}, ["2024-01-31"], ["2024-02-31", "today"]),
        ({"type": "string", "format": "date-time"}, ["2024-01-01T00:00:00+00:00"], ["noon"]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [[1, 2]], [[], ["x"]]),
        ({"uniqueItems": True, "maxItems": 2}, [[1, 2]], [[1, 1], [1, 2, 3]]),
        (
            {"required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
            [{"a": 1}],
            [{}, {"a": "x"}, {"a": 1, "b": 2}],
        ),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["x"]),
        ({"oneOf": [{"minimum": 5}, {"multipleOf": 2}]}, [5, 2], [6, 3]),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}], "not": {"const": 2}}, [1], [0, 2, 3]),
        ({"title": "Only a form's keyword", "examples": [1]}, [object], []),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_values_are_held_against_their_schema(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    assert [violation(schema, value) for value in good] == [""] * len(good)
    assert all(violation(schema, value) for value in bad)


def test_params_are_stored_with_schema_and_description() -> None:
    with new_dag(
        params={"n": Param(3, "How many", type="integer", minimum=1), "plain": "x", "needed": Param(type="string")}
    ) as dag:
        pass
    found = serialise(dag, defaults=Defaults()).params
    assert (found["n"].default, found["n"].description, found["n"].schema) == (
        3,
        "How many",
        {"type": "integer", "minimum": 1},
    )
    assert (found["plain"].default, found["plain"].schema) == ("x", {})
    assert (found["needed"].has_default, found["needed"].default) == (False, None)


def test_params_keep_the_order_that_the_author_gave_them() -> None:
    def stored(*names: str) -> DagSpec:
        with new_dag(params=dict.fromkeys(names, 1)) as dag:
            EmptyOperator(task_id="t")
        return serialise(dag)

    spec = stored("when", "a", "region")

    again = decode_dag(encode_dag(spec))
    assert list(again.params) == ["when", "a", "region"]
    assert [field.name for field in fields(again.params)] == ["param.when", "param.a", "param.region"]
    assert again == spec
    assert dag_hash(again) == dag_hash(spec) == dag_hash(stored("when", "a", "region"))
    assert dag_hash(stored("a", "region", "when")) != dag_hash(spec), "the form changes, and so does the version"


def test_params_of_a_version_without_an_order_are_all_there() -> None:
    old = DagSpec(dag_id="d", params={"b": ParamSpec(default=1), "a": ParamSpec(default=2)}, param_order=("b", "gone"))
    assert list(decode_dag(encode_dag(old)).params) == ["b", "a"]


def test_a_param_without_a_default_must_come_with_the_run() -> None:
    params = ParamsDict({"needed": Param(type="string")})
    assert merge(params, {}, {"needed": "x"}) == {"needed": "x"}
    with pytest.raises(ParamValidationError, match="Param 'needed': No value is given"):
        merge(params, {}, {})


def test_assigning_a_plain_value_keeps_the_schema() -> None:
    params = ParamsDict({"n": Param(1, type="integer")})
    params["n"] = 2
    assert params["n"] == 2
    assert params.get_param("n").schema == {"type": "integer"}
    with pytest.raises(ParamValidationError):
        merge(params, {"n": "x"}, {})


def test_what_runs_in_the_worker_is_in_the_spec_too() -> None:
    with new_dag() as dag:
        EmptyOperator(task_id="t", execution_timeout=timedelta(minutes=1), multiple_outputs=True)
    spec = spec_of(dag, "t")
    assert (spec.execution_timeout_seconds, spec.multiple_outputs, spec.template_fields) == (60.0, True, ())
    assert spec.line > 0
    assert spec.owner == "airflow"


def test_the_owner_is_in_the_spec() -> None:
    with new_dag() as dag:
        EmptyOperator(task_id="t", owner="ann")
    assert spec_of(dag, "t").owner == "ann"


def test_template_fields_are_in_the_spec_for_the_page() -> None:
    from execplane.sdk import BashOperator

    with new_dag() as dag:
        BashOperator(task_id="t", bash_command="true")
    assert spec_of(dag, "t").template_fields == ("bash_command", "env", "cwd")
