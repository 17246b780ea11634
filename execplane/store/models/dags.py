"""DAGs, their immutable versions, the bundles that hold their files, and what could not be imported."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Bundle(models.Model):
    """A content-addressed snapshot of one DAG folder; `manifest` is a Blob."""

    digest = models.CharField(max_length=64, primary_key=True)
    name = models.CharField(max_length=100)
    size_bytes = models.BigIntegerField()
    files = models.PositiveIntegerField(default=0)
    manifest_sha256 = models.CharField(max_length=64, default="")
    created_at = models.DateTimeField()


class Dag(models.Model):
    """A DAG by its id: so that a foreign key named `dag` gives Airflow's string."""

    dag_id = models.CharField(max_length=250, primary_key=True)
    display_name = models.CharField(max_length=500, default="", blank=True)
    bundle_name = models.CharField(max_length=100)
    file = models.CharField(max_length=1000)
    paused = models.BooleanField(default=True)
    active = models.BooleanField(default=True)
    """False: no file defines it any more; its history stays."""
    team = models.CharField(max_length=100, default="", blank=True)
    owners = models.CharField(max_length=500, default="", blank=True)
    description = models.TextField(default="", blank=True)
    schedule = models.CharField(max_length=200, default="", blank=True)
    latest_version = models.ForeignKey("DagVersion", null=True, on_delete=models.DO_NOTHING, related_name="+")
    latest_bundle = models.ForeignKey(Bundle, null=True, on_delete=models.DO_NOTHING, related_name="+")
    max_active_runs = models.PositiveIntegerField(default=16)
    max_active_tasks = models.PositiveIntegerField(default=16)
    next_run_at = models.DateTimeField(null=True)
    """When the next scheduled run is due; null: none (paused DAGs keep theirs)."""
    next_logical_date = models.DateTimeField(null=True)
    next_interval_start = models.DateTimeField(null=True)
    next_interval_end = models.DateTimeField(null=True)
    replan = models.BooleanField(default=True)
    """The next scheduled run must be computed anew: a new version, an unpause."""
    parsed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_run_at"],
                name="dag_due",
                condition=Q(paused=False, active=True, next_run_at__isnull=False),
            ),
            models.Index(fields=["dag_id"], name="dag_replan", condition=Q(replan=True, active=True)),
            models.Index(fields=["bundle_name", "file"], name="dag_file"),
        ]


class DagTag(models.Model):
    dag = models.ForeignKey(Dag, on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=100)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dag", "name"], name="dag_tag_once")]
        indexes = [models.Index(fields=["name", "dag"], name="dag_tag_name")]


class DagVersion(models.Model):
    """A serialised DAG, never changed. `number` counts per DAG for people; `hash` names it for machines."""

    dag = models.ForeignKey(Dag, on_delete=models.DO_NOTHING, related_name="versions")
    number = models.PositiveIntegerField()
    hash = models.CharField(max_length=64)
    blob = models.ForeignKey("Blob", on_delete=models.DO_NOTHING, related_name="+")
    source_blob = models.ForeignKey("Blob", null=True, on_delete=models.DO_NOTHING, related_name="+")
    """The DAG file's text when the version was first seen."""
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dag", "hash"], name="dag_version_once"),
            models.UniqueConstraint(fields=["dag", "number"], name="dag_version_number"),
        ]


class ImportErrorRow(models.Model):
    """What is wrong with one DAG file, until it imports."""

    bundle_name = models.CharField(max_length=100)
    file = models.CharField(max_length=1000)
    message = models.TextField()
    traceback = models.TextField(default="", blank=True)
    first_seen_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "execplane_import_error"
        constraints = [models.UniqueConstraint(fields=["bundle_name", "file"], name="import_error_once")]
