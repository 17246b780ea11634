"""Pod templates and their immutable revisions, operators' override rules, policies: the seams from day one."""

from __future__ import annotations

from django.db import models


class Template(models.Model):
    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(default="", blank=True)
    active_number = models.PositiveIntegerField(null=True)


class TemplateRevision(models.Model):
    """Immutable: an edit makes the next number."""

    template = models.ForeignKey(Template, on_delete=models.DO_NOTHING, related_name="revisions")
    number = models.PositiveIntegerField()
    blob = models.ForeignKey("Blob", on_delete=models.DO_NOTHING, related_name="+")
    author = models.CharField(max_length=200)
    message = models.TextField(default="", blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["template", "number"], name="template_revision_once")]


class OverrideRule(models.Model):
    """An operator's layer: for what matches, this patch."""

    name = models.CharField(max_length=100, unique=True)
    position = models.IntegerField(default=0)
    enabled = models.BooleanField(default=True)
    match = models.JSONField(default=dict)
    patch = models.JSONField(default=dict)


class Policy(models.Model):
    name = models.CharField(max_length=100, unique=True)
    namespace = models.CharField(max_length=63, default="", blank=True)
    enabled = models.BooleanField(default=True)
    rules = models.JSONField(default=dict)
