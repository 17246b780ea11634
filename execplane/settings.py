"""Django's settings, derived from `config`: nothing is configured twice."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from execplane import config as _config
from execplane.contract.errors import ConfigError

CONFIG = _config.current()
_PACKAGE = Path(__file__).parent


def databases(url: str, home: Path) -> dict[str, Any]:
    """A database URL as Django's DATABASES["default"]. Raises ConfigError; the URL, a secret, is not repeated."""
    if not url:
        url = f"sqlite:///{quote(str(home / 'execplane.sqlite3'))}"
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(url.partition("?")[0].removeprefix("sqlite:///")),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                # A deferred transaction that upgrades fails with "locked" at once, whatever the timeout.
                "transaction_mode": "IMMEDIATE",
                "timeout": _busy_seconds(parts.query),
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;",
            },
        }
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
            # Transaction-pooling pgbouncer keeps no server-side cursor between statements.
            "DISABLE_SERVER_SIDE_CURSORS": True,
            "OPTIONS": dict(parse_qsl(parts.query)),
        }
    raise ConfigError(
        f"EXECPLANE_DATABASE_URL has the unknown scheme {parts.scheme!r}.",
        hint="Use postgresql://user:password@host:5432/name or sqlite:////absolute/path.sqlite3.",
    )


def _busy_seconds(query: str) -> float:
    """SQLite's only option, `?timeout=SECONDS`: how long a write waits for another process's. Raises ConfigError."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    try:
        seconds = float(options.pop("timeout", "20"))
    except ValueError:
        seconds = -1.0
    if options or not 0 < seconds < 3600:
        raise ConfigError(
            f"EXECPLANE_DATABASE_URL has the options {query!r}, and SQLite takes only timeout.",
            hint="For example sqlite:////absolute/path.sqlite3?timeout=20 (seconds).",
        )
    return seconds


SECRET_KEY, *SECRET_KEY_FALLBACKS = _config.signing_keys(CONFIG)
DEBUG = CONFIG.debug
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *CONFIG.web.allowed_hosts]
CSRF_TRUSTED_ORIGINS = CONFIG.web.trusted_origins

INSTALLED_APPS = [
    "execplane.store",
    "execplane.web",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "channels",
    "django_htmx",
]
MIDDLEWARE = [
    "execplane.api.public.probes.ProbeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "execplane.web.security.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "execplane.urls"
ASGI_APPLICATION = "execplane.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": databases(CONFIG.database_url.get_secret_value(), CONFIG.home)}
AUTH_USER_MODEL = "execplane.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
# Signed cookies: reading a page writes nothing, which SQLite's one writer needs.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = CONFIG.web.secure_cookies
SESSION_COOKIE_NAME = "execplane_session"
CSRF_COOKIE_NAME = "execplane_csrf"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
STATICFILES_DIRS = [folder for folder in (_PACKAGE / "static", _PACKAGE.parent / "static") if folder.is_dir()][:1]
STATIC_ROOT = CONFIG.home / "static"
with contextlib.suppress(OSError):
    # WhiteNoise warns about an absent one, although it finds the files of a checkout without it.
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
WHITENOISE_USE_FINDERS = True
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
REST_FRAMEWORK = {
    # The first one says how to log in: a machine without credentials gets 401 and "Basic".
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "execplane.api.public.passwords.BasicPassword",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "execplane.api.public.errors.answer",
}
LOGGING_CONFIG = None
