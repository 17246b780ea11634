"""Attempts: one row a launch, append-only once ended, with the times of every phase."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

ACTIVE = ["queued", "claimed", "launched", "running", "stopping"]
ENDED = ["success", "failed", "skipped", "rescheduled", "cancelled"]


class Attempt(models.Model):
    ti = models.ForeignKey("TaskInstance", on_delete=models.DO_NOTHING, related_name="attempts", db_index=False)
    attempt_no = models.PositiveIntegerField()
    try_number = models.PositiveIntegerField()
    cause = models.CharField(max_length=20)
    state = models.CharField(max_length=20)
    seq = models.PositiveIntegerField(default=0)
    """Grows with every transition: the compare of compare-and-set, and the event's number."""

    dag_id = models.CharField(max_length=250)
    run_id = models.CharField(max_length=250)
    task_id = models.CharField(max_length=250)
    map_index = models.IntegerField(default=-1)

    executor = models.CharField(max_length=60)
    queue = models.CharField(max_length=250, default="default")
    pool = models.CharField(max_length=250, default="default_pool")
    slots = models.PositiveIntegerField(default=1)
    priority = models.IntegerField(default=1)
    max_per_dag = models.PositiveIntegerField(null=True)
    """The task's max_active_tis_per_dag."""

    cluster = models.CharField(max_length=60, default="", blank=True)
    namespace = models.CharField(max_length=63, default="", blank=True)
    pod_name = models.CharField(max_length=253, null=True)
    """Null until the intent is committed."""
    pod_uid = models.CharField(max_length=100, default="", blank=True)
    node = models.CharField(max_length=253, default="", blank=True)
    image_digest = models.CharField(max_length=300, default="", blank=True)
    template_rev = models.CharField(max_length=100, default="", blank=True)
    intent_sha256 = models.CharField(max_length=64, default="", blank=True)
    """Blob of the exact bytes that are (to be) created."""

    category = models.CharField(max_length=40, default="", blank=True)
    reason = models.TextField(default="", blank=True)
    hint = models.TextField(default="", blank=True)
    exit_code = models.IntegerField(null=True)

    owner = models.CharField(max_length=200, default="", blank=True)
    """The driver's process that claimed it."""
    fence = models.BigIntegerField(default=0)
    """The lease token under which it was claimed."""
    nonce = models.CharField(max_length=64, default="", blank=True)
    """The worker process that passed the fence."""
    heartbeat_at = models.DateTimeField(null=True)
    log_offset = models.BigIntegerField(default=0)
    """Lines the worker says it has produced."""
    bundle_found = models.CharField(max_length=64, default="", blank=True)
    stop_reason = models.TextField(default="", blank=True)
    stop_actor = models.CharField(max_length=200, default="", blank=True)
    stop_then = models.CharField(max_length=20, default="", blank=True)
    """What becomes of the task instance once the stopped attempt is dead: "clear", "" (leave it)."""
    stop_at = models.DateTimeField(null=True)
    not_claimed_reason = models.CharField(max_length=300, default="", blank=True)
    retry_at = models.DateTimeField(null=True)
    """An unanswered or refused launch is tried again then."""
    launch_failures = models.PositiveIntegerField(default=0)
    labels = models.JSONField(default=dict)
    rendered = models.JSONField(null=True)
    status = models.JSONField(null=True)
    """The pod's last status, as the API server gave it."""
    worker_version = models.CharField(max_length=40, default="", blank=True)

    queued_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    launched_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    scheduled_at = models.DateTimeField(null=True)
    initialized_at = models.DateTimeField(null=True)
    """The pod's init containers were done."""
    pulled_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    """The container or process started, as its host says."""
    running_at = models.DateTimeField(null=True)
    """The worker passed the fence."""
    user_code_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    gone_at = models.DateTimeField(null=True)
    """From when on it is certainly dead: confirmed by the executor, or, when it vanished unseen, fenced by itself."""
    held_until = models.DateTimeField(null=True)
    """Its failed container is kept alive for debugging until then; not cleaned up before."""
    cleaned_at = models.DateTimeField(null=True)
    peak_memory_bytes = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ti", "attempt_no"], name="attempt_once"),
            models.UniqueConstraint(fields=["cluster", "namespace", "pod_name"], name="attempt_pod_once"),
        ]
        indexes = [
            models.Index(
                fields=["executor", "state", "-priority", "id"],
                name="attempt_active",
                condition=Q(state__in=ACTIVE),
            ),
            models.Index(
                fields=["executor", "id"],
                name="attempt_to_clean",
                condition=Q(state__in=ENDED, launched_at__isnull=False, cleaned_at__isnull=True),
            ),
            models.Index(fields=["dag_id", "-id"], name="attempt_dag", condition=Q(state__in=ENDED)),
            models.Index(fields=["state", "-id"], name="attempt_state", condition=Q(state__in=ENDED)),
            models.Index(fields=["category", "-id"], name="attempt_category", condition=Q(state__in=ENDED)),
            models.Index(fields=["node", "-id"], name="attempt_node", condition=Q(state__in=ENDED)),
            models.Index(fields=["image_digest", "-id"], name="attempt_image", condition=Q(state__in=ENDED)),
            models.Index(fields=["template_rev", "-id"], name="attempt_template", condition=Q(state__in=ENDED)),
        ]


class AttemptEvent(models.Model):
    """One attempt's story: insert-only, and nothing references it (partitioning stays a swap)."""

    attempt_id = models.BigIntegerField()
    seq = models.PositiveIntegerField()
    at = models.DateTimeField()
    from_state = models.CharField(max_length=20, default="", blank=True)
    to_state = models.CharField(max_length=20, default="", blank=True)
    """Equal to from_state where something was recorded and nothing moved."""
    actor = models.CharField(max_length=200)
    reason = models.TextField(default="", blank=True)
    data = models.JSONField(null=True)

    class Meta:
        indexes = [models.Index(fields=["attempt_id", "seq"], name="attempt_event_story")]


class FlightRecord(models.Model):
    """What is kept of a pod after it is gone."""

    attempt_id = models.BigIntegerField(primary_key=True)
    captured_at = models.DateTimeField()
    blob_sha256 = models.CharField(max_length=64)

    class Meta:
        indexes = [models.Index(fields=["captured_at"], name="flight_record_age")]


class WaitingReason(models.Model):
    """Why an attempt waits, as last seen; gone when it no longer waits."""

    attempt_id = models.BigIntegerField(primary_key=True)
    code = models.CharField(max_length=40)
    sentence = models.TextField(default="")
    data = models.JSONField(null=True)
    since = models.DateTimeField()
