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
