"""Drift: where a cluster and the ledger were found to differ, and what was done about it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class DriftFinding(models.Model):
    """One difference, from the look that confirmed it to the first that no longer finds it."""

    executor = models.CharField(max_length=60)
    kind = models.CharField(max_length=40)
    mend = models.CharField(max_length=20)
    """What would mend it: `pods.reconcile.Mend`."""
    cluster = models.CharField(max_length=60, default="", blank=True)
    namespace = models.CharField(max_length=63)
    pod_name = models.CharField(max_length=253)
    pod_uid = models.CharField(max_length=100, default="", blank=True)
    attempt_id = models.BigIntegerField(null=True)
    """As the pod says: the ledger need not have it."""
    task = models.TextField(default="", blank=True)
    sentence = models.TextField()
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    """A look no longer found it."""
    holds_since = models.DateTimeField(null=True)
    """From then until it is decided, the executor launches nothing. Null: it holds nothing."""
    tries = models.PositiveIntegerField(default=0)
    tried_at = models.DateTimeField(null=True)
    action = models.TextField(default="", blank=True)
    """What was done about it last, or why that failed."""
    action_by = models.CharField(max_length=200, default="", blank=True)
    decision = models.CharField(max_length=20, default="", blank=True)
    """An operator's: "leave", "delete", "force", of all that held launches "release"; "" while there is none."""
    decided_by = models.CharField(max_length=200, default="", blank=True)
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(default="", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["executor", "kind", "namespace", "pod_name", "pod_uid"],
                name="drift_open_once",
                condition=Q(resolved_at__isnull=True),
            )
        ]
        indexes = [
            models.Index(fields=["-id"], name="drift_open", condition=Q(resolved_at__isnull=True)),
            models.Index(
                fields=["executor", "id"],
                name="drift_holds",
                condition=Q(decided_at__isnull=True, holds_since__isnull=False),
            ),
        ]


class DriftLook(models.Model):
    """The newest comparison of an executor's cluster with the ledger."""

    executor = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField(null=True)
    """When the oldest of the lists that it compared was begun; null: none yet."""
    pods = models.PositiveIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    unseen = models.TextField(default="", blank=True)
    """What could not be looked at, and why."""
    left_off = models.PositiveIntegerField(default=0)
    """Findings beyond those that are stored."""
    wanted_at = models.DateTimeField(null=True)
    """Somebody asked for a look."""
