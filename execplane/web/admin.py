"""Django's admin for what needs no page of its own: users and pools. The one place of `web` that sees models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from execplane.store.audit import audit
from execplane.store.models import Pool, User
from execplane.web import wiring

if TYPE_CHECKING:
    _PoolAdmin = admin.ModelAdmin[Pool]
    _UserAdmin = UserAdmin[User]
    _Admin = admin.ModelAdmin[Any]
else:
    # Generic for the type checker only.
    _PoolAdmin, _UserAdmin, _Admin = admin.ModelAdmin, UserAdmin, object


class Audited(_Admin):
    """What is changed here stands in the audit log, too; the admin's own log calls at the right moments."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _audit(request, "add", [obj])
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _audit(request, "change", [obj])
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        _audit(request, "delete", queryset)
        return super().log_deletions(request, queryset)


def _audit(request: HttpRequest, action: str, objects: Iterable[Any]) -> None:
    # The admin's view is a transaction already. Taking `write()`'s lock inside it could wait for its own holder.
    now = wiring.clock().now()
    for one in objects:
        audit(request.user.get_username(), action, f"{one._meta.model_name}:{one}", now=now)


@admin.register(Pool)
class PoolAdmin(Audited, _PoolAdmin):
    list_display = ("name", "slots", "description")
    search_fields = ("name",)


@admin.register(User)
class AuditedUserAdmin(Audited, _UserAdmin):
    pass


admin.site.site_header = admin.site.site_title = "execplane"
admin.site.site_url = "/dags"
