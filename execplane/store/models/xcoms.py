"""XComs: JSON values that tasks leave for tasks; large ones live in the blob store."""

from __future__ import annotations

from django.db import models


class XCom(models.Model):
    ti = models.ForeignKey("TaskInstance", on_delete=models.DO_NOTHING, related_name="xcoms", db_index=False)
    key = models.CharField(max_length=512)
    attempt_no = models.PositiveIntegerField()
    codec = models.CharField(max_length=16, default="json")
    value = models.BinaryField(null=True)
    """The codec's bytes; null where `blob_sha256` has them."""
    blob_sha256 = models.CharField(max_length=64, default="", blank=True)
    size_bytes = models.BigIntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["ti", "key"], name="xcom_once")]
