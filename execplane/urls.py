"""The addresses: pages, the admin, the public API. The worker API is served beside Django (see `asgi`)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

handler500 = "execplane.web.errors.failed"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("execplane.api.public.urls")),
    path("", include("execplane.web.urls")),
]
