"""The one Django app with tables; its label is `execplane` from the first migration on."""

from __future__ import annotations

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "execplane.store"
    label = "execplane"
    verbose_name = "execplane"
    default_auto_field = "django.db.models.BigAutoField"
