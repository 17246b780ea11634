"""Pools, Variables and Connections; values are encrypted with rotatable keys and each access is recorded."""

from __future__ import annotations

from django.db import models


class Pool(models.Model):
    name = models.CharField(max_length=250, unique=True)
    slots = models.IntegerField(default=128)
    """-1: no limit."""
    description = models.TextField(default="", blank=True)

    def __str__(self) -> str:
        return self.name


class Variable(models.Model):
    key = models.CharField(max_length=250, unique=True)
    value = models.BinaryField()
    """Encrypted."""
    stamp = models.CharField(max_length=32, default="0")
    """Another one with each value: who has read it sees that it has changed."""
    description = models.TextField(default="", blank=True)


class Connection(models.Model):
    conn_id = models.CharField(max_length=250, unique=True)
    conn_type = models.CharField(max_length=100, default="", blank=True)
    host = models.CharField(max_length=500, default="", blank=True)
    schema = models.CharField(max_length=500, default="", blank=True)
    login = models.CharField(max_length=500, default="", blank=True)
    port = models.IntegerField(null=True, blank=True)
    secret = models.BinaryField()
    """Encrypted JSON: password and extra."""
    description = models.TextField(default="", blank=True)


class SecretAccess(models.Model):
    """Which attempt read which Variable or Connection, once per attempt and name."""

    attempt_id = models.BigIntegerField()
    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=250)
    found = models.BooleanField(default=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt_id", "kind", "name"], name="secret_access_once")]
        indexes = [models.Index(fields=["kind", "name", "-id"], name="secret_access_name")]
