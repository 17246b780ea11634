"""Logging in, with a form that says what is wrong and nothing about which part of it was."""

from __future__ import annotations

from django.contrib.auth import views as auth


class Login(auth.LoginView):
    template_name = "web/login.html"
    redirect_authenticated_user = True
