"""Django's admin for what needs no page of its own: users and pools. The one place of `web` that sees models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from execplane.store.models import Pool, User

if TYPE_CHECKING:
    _PoolAdmin = admin.ModelAdmin[Pool]
else:
    # Generic for the type checker only.
    _PoolAdmin = admin.ModelAdmin


@admin.register(Pool)
class PoolAdmin(_PoolAdmin):
    list_display = ("name", "slots", "description")
    search_fields = ("name",)


admin.site.register(User, UserAdmin)
admin.site.site_header = admin.site.site_title = "execplane"
admin.site.site_url = "/dags"
