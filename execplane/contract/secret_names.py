"""Names that say that what they name is secret: for all who show values that somebody else has set."""

from __future__ import annotations

_SENSITIVE = (
    "access_token", "api_key", "apikey", "authorization", "keyfile_dict", "passphrase", "passwd", "password",
    "private_key", "secret", "service_account", "token",
)  # fmt: skip


def is_sensitive(name: str) -> bool:
    """Whether a name says that what it names is secret, by Airflow's list of words."""
    lowered = name.lower()
    return any(word in lowered for word in _SENSITIVE)
