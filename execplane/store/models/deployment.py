"""The deployment itself: who it is, who may log in, who holds which lease, what was done by whom."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """Our own user model from migration 0001 on, so that it can grow."""

    class Meta(AbstractUser.Meta):
        db_table = "execplane_user"


class Deployment(models.Model):
    """One row: this deployment. `incarnation` grows when a restored database is noticed."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    uuid = models.UUIDField()
    incarnation = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="deployment_is_one_row")]


class Blob(models.Model):
    """Exact bytes by their SHA-256: in the row, or in the blob store under `object_key`."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    codec = models.CharField(max_length=16, default="zlib")
    size_bytes = models.BigIntegerField()
    data = models.BinaryField(null=True)
    object_key = models.CharField(max_length=200, default="", blank=True)
    created_at = models.DateTimeField()


class Lease(models.Model):
    """Who may do what only one may do. Time is the database's clock; `token` fences: it only grows."""

    name = models.CharField(max_length=100, primary_key=True)
    holder = models.CharField(max_length=200)
    token = models.BigIntegerField(default=1)
    expires_at = models.DateTimeField()


class LoopStatus(models.Model):
    """What each loop of each process last said of itself: for the loops page, `status` and alerts."""

    process = models.CharField(max_length=200)
    name = models.CharField(max_length=100)
    version = models.CharField(max_length=40)
    state = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    last_tick_at = models.DateTimeField(null=True)
    last_tick_seconds = models.FloatField(default=0)
    max_tick_seconds = models.FloatField(default=0)
    ticks = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    restarts = models.BigIntegerField(default=0)
    last_error = models.TextField(default="", blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["process", "name"], name="loop_status_once")]


class DeadlineState(models.Model):
    """What the deadlines of an executor have to say, while they have; no row: all is well."""

    executor = models.CharField(max_length=60, primary_key=True)
    sentence = models.TextField()
    since = models.DateTimeField()
    breaker_open = models.BooleanField(default=False)
    overdue = models.PositiveIntegerField(default=0)
    """Attempts that would be ended, were the breaker not open."""
    confirmed = models.PositiveIntegerField(null=True)
    """How many of them an operator allows to be ended."""
    confirmed_by = models.CharField(max_length=200, default="", blank=True)


class Audit(models.Model):
    """Who changed what. Insert-only."""

    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=60)
    object = models.CharField(max_length=600)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        indexes = [models.Index(fields=["object", "-id"], name="audit_object")]


class RollupMinute(models.Model):
    """Minute sums for charts, so that no chart scans attempts."""

    minute = models.DateTimeField()
    dag_id = models.CharField(max_length=250)
    executor = models.CharField(max_length=60)
    namespace = models.CharField(max_length=63, default="")
    state = models.CharField(max_length=20)
    category = models.CharField(max_length=40, default="")
    n = models.BigIntegerField(default=0)
    sums = models.JSONField(default=dict)
    buckets = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "dag_id", "executor", "namespace", "state", "category"], name="rollup_once"
            )
        ]
