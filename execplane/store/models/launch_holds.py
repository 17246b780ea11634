"""Launch holds: what operators said must not start for now, and why."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class LaunchHold(models.Model):
    """One hold, from when it was made until it ended. It counts while `ended_at` is null and `expires_at` not reached:
    so an expiry needs nobody to carry it out."""

    scope = models.CharField(max_length=20)
    """`contract.launch_holds.Scope`."""
    name = models.CharField(max_length=250, default="", blank=True)
    """Of the executor, cluster, namespace, DAG tag or DAG; "" for all."""
    reason = models.TextField()
    author = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    """Released, or, noted later, expired."""
    ended_by = models.CharField(max_length=200, default="", blank=True)
    """"" for one that expired."""

    class Meta:
        indexes = [models.Index(fields=["id"], name="launch_hold_open", condition=Q(ended_at__isnull=True))]


class LaunchWave(models.Model):
    """The wave that an executor's launches go out in; no row where they are not held up by one. Who deletes it lets
    all go."""

    executor = models.CharField(max_length=60, primary_key=True)
    cause = models.CharField(max_length=300)
    began_at = models.DateTimeField()
    """The first wave."""
    total = models.PositiveIntegerField()
    size = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    before = models.PositiveIntegerField()
    launched = models.PositiveIntegerField()
    well = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
