"""Runs and task instances: the scheduling identities with their current state."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

ACTIVE = ["queued", "running"]
ENDED = ["success", "failed"]
UNSCHEDULED = ["manual", "backfill"]
"""Run types that are rare among the scheduled runs of years."""


class DagRun(models.Model):
    dag = models.ForeignKey("Dag", on_delete=models.DO_NOTHING, related_name="runs", db_index=False)
    run_id = models.CharField(max_length=250)
    run_type = models.CharField(max_length=20)
    state = models.CharField(max_length=20)
    logical_date = models.DateTimeField(null=True)
    data_interval_start = models.DateTimeField(null=True)
    data_interval_end = models.DateTimeField(null=True)
    run_after = models.DateTimeField()
    dag_version = models.ForeignKey("DagVersion", on_delete=models.DO_NOTHING, related_name="+")
    bundle = models.ForeignKey("Bundle", on_delete=models.DO_NOTHING, related_name="+")
    conf = models.JSONField(default=dict)
    triggered_by = models.CharField(max_length=200, default="")
    reason = models.TextField(default="", blank=True)
    """Why it ended as it did, or why it does not start yet."""
    decide_at = models.DateTimeField(null=True)
    """When the scheduler must look at it again; null: when something of it changes."""
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dag", "run_id"], name="dagrun_once"),
            models.UniqueConstraint(fields=["dag", "logical_date"], name="dagrun_logical_date_once"),
        ]
        indexes = [
            models.Index(fields=["dag", "-id"], name="dagrun_recent"),
            models.Index(fields=["state", "-id"], name="dagrun_by_state"),
            models.Index(fields=["dag", "state", "-id"], name="dagrun_ended", condition=Q(state__in=ENDED)),
            models.Index(fields=["dag", "-logical_date"], name="dagrun_success", condition=Q(state="success")),
            models.Index(fields=["dag", "-logical_date"], name="dagrun_scheduled", condition=Q(run_type="scheduled")),
            models.Index(fields=["run_type", "-id"], name="dagrun_unscheduled", condition=Q(run_type__in=UNSCHEDULED)),
            models.Index(
                fields=["dag", "run_type", "-id"],
                name="dagrun_dag_unscheduled",
                condition=Q(run_type__in=UNSCHEDULED),
            ),
            models.Index(
                fields=["decide_at"],
                name="dagrun_to_decide",
                condition=Q(state__in=ACTIVE, decide_at__isnull=False),
            ),
            models.Index(fields=["dag", "state"], name="dagrun_active", condition=Q(state__in=ACTIVE)),
        ]


class TaskInstance(models.Model):
    """One task of one run. `attempt_no` is its newest attempt's number, 0 before the first."""

    dagrun = models.ForeignKey(DagRun, on_delete=models.DO_NOTHING, related_name="task_instances", db_index=False)
    task_id = models.CharField(max_length=250)
    map_index = models.IntegerField(default=-1)
    state = models.CharField(max_length=20, default="none")
    attempt_no = models.PositiveIntegerField(default=0)
    try_number = models.PositiveIntegerField(default=0)
    author_failures = models.PositiveIntegerField(default=0)
    """Failures that count against `retries`, since the last clear."""
    infra_failures = models.PositiveIntegerField(default=0)
    eligible_at = models.DateTimeField(null=True)
    """Not launched again before (retry delay, reschedule)."""
    next_cause = models.CharField(max_length=20, default="first")
    """The cause that the next attempt will carry."""
    skips = models.JSONField(null=True)
    """Task ids that this instance's branch or short circuit dropped."""
    map_length = models.PositiveIntegerField(null=True)
    """Length of its return_value, where something may be mapped over it."""
    map_label = models.CharField(max_length=250, default="")
    note = models.TextField(default="", blank=True)
    reason = models.TextField(default="", blank=True)
    """Why it is in its state, in one sentence, where the state does not say it."""
    first_started_at = models.DateTimeField(null=True)
    """Start of the first attempt of the present try: a reschedule sensor's timeout counts from there."""
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dagrun", "task_id", "map_index"], name="task_instance_once")]
        indexes = [
            models.Index(
                fields=["state", "eligible_at"],
                name="task_instance_active",
                condition=Q(state__in=["queued", "running", "restarting", "up_for_retry", "up_for_reschedule"]),
            )
        ]
