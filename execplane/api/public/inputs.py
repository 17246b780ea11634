"""What requests may hold. An unknown field is refused by name: nothing is accepted and ignored."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

MOST_ROWS = 1000


class Strict(serializers.Serializer[Any]):
    """A serializer that refuses fields it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(map(str, data)) - set(self.fields))
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError({unknown[0]: [f"There is no such field; there are: {known}."]})
        return super().to_internal_value(data)


class NewRun(Strict):
    dag_run_id = serializers.CharField(required=False, allow_null=True, max_length=250)
    logical_date = serializers.DateTimeField(required=False, allow_null=True)
    conf = serializers.DictField(required=False, allow_null=True)


class DagChange(Strict):
    is_paused = serializers.BooleanField()


class Only(serializers.Field[Any, Any, Any, Any]):
    """A field of Airflow's that can mean one thing here: any other value is refused, saying why."""

    def __init__(self, value: Any, why: str) -> None:
        super().__init__(required=False, allow_null=True)
        self._only, self._why = value, why

    def to_internal_value(self, data: Any) -> Any:
        if data != self._only:
            raise serializers.ValidationError(f"{self._why} Leave it out.")
        return data


class TaskIds(serializers.Field[Any, Any, Any, Any]):
    """Airflow's task_ids, ["extract", "load"] or [["each", 0], ["each", 2]], as (task ids, map indexes or None)."""

    def to_internal_value(self, data: Any) -> tuple[list[str], list[int] | None]:
        if not isinstance(data, list) or not data:
            raise serializers.ValidationError("A list of task ids, not empty; leave it out for all tasks.")
        if all(isinstance(entry, str) for entry in data):
            return data, None
        if all(_is_instance(entry) for entry in data) and len({entry[0] for entry in data}) == 1:
            return [data[0][0]], [entry[1] for entry in data]
        raise serializers.ValidationError(
            "Either task ids, or [task id, map index] pairs of one task: clear others by a request of their own."
        )


def _is_instance(entry: Any) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [str, int]


class Clearing(Strict):
    """Airflow's defaults: nothing is cleared without `"dry_run": false`, only what failed without
    `"only_failed": false`."""

    dag_run_id = serializers.CharField(max_length=250)
    task_ids = TaskIds(required=False, allow_null=True)
    dry_run = serializers.BooleanField(required=False, default=True)
    only_failed = serializers.BooleanField(required=False, default=True)
    include_upstream = serializers.BooleanField(required=False, default=False)
    include_downstream = serializers.BooleanField(required=False, default=False)
    include_past = serializers.BooleanField(required=False, default=False)
    include_future = serializers.BooleanField(required=False, default=False)
    run_on_latest_version = serializers.BooleanField(required=False, default=False)
    reset_dag_runs = Only(True, "An ended run always goes on when a task of it is cleared.")
    only_running = Only(False, "What runs is cleared with the rest, not alone.")
    start_date = Only(None, "Runs are named by dag_run_id, include_past and include_future, not by dates.")
    end_date = Only(None, "Runs are named by dag_run_id, include_past and include_future, not by dates.")


class RunChange(Strict):
    state = serializers.CharField(max_length=20)


class TaskChange(Strict):
    new_state = serializers.CharField(max_length=20)
    include_upstream = Only(False, "Each task is marked by a request of its own.")
    include_downstream = Only(False, "Each task is marked by a request of its own.")
    include_past = Only(False, "Each run's task is marked by a request of its own.")
    include_future = Only(False, "Each run's task is marked by a request of its own.")


class PageQuery(Strict):
    """?limit=…&after=… (the answer's `next`)."""

    limit = serializers.IntegerField(required=False, default=100, min_value=1, max_value=MOST_ROWS)
    after = serializers.CharField(required=False, default="", max_length=600)


class DagsQuery(PageQuery):
    tag = serializers.CharField(required=False, default="")
    paused = serializers.BooleanField(required=False, allow_null=True, default=None)
    search = serializers.CharField(required=False, default="")


class RunsQuery(PageQuery):
    state = serializers.ChoiceField(required=False, default="", choices=["queued", "running", "success", "failed"])


class TaskInstancesQuery(PageQuery):
    state = serializers.CharField(required=False, default="")
